// The media of one call: a microphone or a test tone, an RTCPeerConnection, its levels and its figures.
//
// No trickle: an offer goes out when all candidates are known, or after a second. One audio section, DTLS-SRTP.

const GATHER = 1000;
/** The choice of microphone that is no microphone. */
export const TONE = 'tone';

let context;
/** The page's audio context; browsers want it begun by a press of a button. */
export function audioContext() {
  context ||= new AudioContext();
  if (context.state === 'suspended') void context.resume();
  return context;
}

/** Why a microphone cannot be had, in words. */
export function microphoneTrouble(error) {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    return 'Browsers give a microphone only to pages on localhost or over https. A test tone is sent instead.';
  }
  switch (error?.name) {
    case 'NotAllowedError': return 'The microphone was refused in the browser’s permissions. A test tone is sent instead.';
    case 'NotFoundError': case 'OverconstrainedError': return 'No microphone was found. A test tone is sent instead.';
    case 'NotReadableError': return 'The microphone is in use by another program. A test tone is sent instead.';
    default: return `No microphone${error ? ` (${error.message})` : ''}. A test tone is sent instead.`;
  }
}

/** The microphones there are, with names once permission was given. */
export async function microphones() {
  if (!navigator.mediaDevices?.enumerateDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  return devices.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId);
}

/** A tone that comes and goes, so that an echo can be told from silence: 440 Hz at about -20 dBFS. */
function tone() {
  const audio = audioContext();
  const oscillator = new OscillatorNode(audio, { frequency: 440 });
  const gain = new GainNode(audio, { gain: 0.07 });
  const wobble = new OscillatorNode(audio, { frequency: 0.8 });
  const depth = new GainNode(audio, { gain: 0.065 });
  const out = new MediaStreamAudioDestinationNode(audio, { channelCount: 1 });
  wobble.connect(depth).connect(gain.gain);
  oscillator.connect(gain).connect(out);
  oscillator.start();
  wobble.start();
  const [track] = out.stream.getAudioTracks();
  const end = () => { oscillator.stop(); wobble.stop(); track.stop(); };
  return { track, stream: out.stream, end, isTone: true };
}

/** What is sent: the microphone of that id (any for ''), else a tone with `trouble` in words. */
export async function source(id) {
  if (id === TONE) return tone();
  if (!navigator.mediaDevices?.getUserMedia) return { ...tone(), trouble: microphoneTrouble() };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { ...(id ? { deviceId: { exact: id } } : {}), echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    const [track] = stream.getAudioTracks();
    return { track, stream, end: () => track.stop() };
  } catch (error) {
    return { ...tone(), trouble: microphoneTrouble(error) };
  }
}

/** `handlers`: `remote(stream)`, `state(connectionState)`. */
export class Media {
  constructor(input, handlers) {
    this.input = input;
    this.handlers = handlers;
    this.peer = new RTCPeerConnection({ iceServers: [], bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.transceiver = this.peer.addTransceiver(input.track, { direction: 'sendrecv', streams: [input.stream] });
    this.peer.ontrack = ({ track, streams }) => handlers.remote(streams[0] || new MediaStream([track]));
    this.peer.onconnectionstatechange = () => handlers.state(this.peer.connectionState);
    this.last = new Map();
  }

  async #local() {
    const { peer } = this;
    await peer.setLocalDescription();
    if (peer.iceGatheringState !== 'complete') {
      await new Promise((done) => {
        const timer = setTimeout(done, GATHER);
        peer.addEventListener('icegatheringstatechange', () => {
          if (peer.iceGatheringState !== 'complete') return;
          clearTimeout(timer);
          done();
        });
      });
    }
    return peer.localDescription.sdp;
  }

  offer() {
    return this.#local();
  }

  async accept(sdp) {
    // After early media the same answer comes again with the 200.
    if (this.peer.signalingState === 'have-local-offer') await this.peer.setRemoteDescription({ type: 'answer', sdp });
  }

  /** The answer to an offer within the call; without one, an offer of ours. */
  async answer(sdp) {
    if (!sdp) return this.#local();
    await this.peer.setRemoteDescription({ type: 'offer', sdp });
    return this.#local();
  }

  /** An offer that holds or resumes; it is not taken back when it is refused, `rollback` does that. */
  async holdOffer(hold) {
    this.transceiver.direction = hold ? 'sendonly' : 'sendrecv';
    return this.#local();
  }

  async rollback(hold) {
    if (this.peer.signalingState === 'have-local-offer') await this.peer.setLocalDescription({ type: 'rollback' });
    this.transceiver.direction = hold ? 'sendonly' : 'sendrecv';
  }

  /** Whether the far end listens and speaks, as its last description says. */
  get direction() {
    return this.transceiver.currentDirection;
  }

  async use(input) {
    await this.transceiver.sender.replaceTrack(input.track);
    input.track.enabled = this.input.track.enabled;
    this.input.end();
    this.input = input;
  }

  mute(muted) {
    this.input.track.enabled = !muted;
  }

  /** Presses a key by RFC 4733; false where it was not negotiated. */
  press(key) {
    const dtmf = this.transceiver.sender.dtmf;
    if (!dtmf?.canInsertDTMF) return false;
    dtmf.insertDTMF(dtmf.toneBuffer + key, 120, 60);
    return true;
  }

  close() {
    this.input.end();
    this.peer.onconnectionstatechange = null;
    this.peer.close();
  }

  /** The figures of the last second, in words; an entry is missing where nothing is known. */
  async figures() {
    const report = await this.peer.getStats();
    const of = (type, fits = () => true) => [...report.values()].find((entry) => entry.type === type && fits(entry));
    const audio = ({ kind }) => kind === 'audio';
    const inbound = of('inbound-rtp', audio);
    const outbound = of('outbound-rtp', audio);
    const heard = of('remote-inbound-rtp', audio);
    const transport = of('transport');
    const pair = report.get(transport?.selectedCandidatePairId) || of('candidate-pair', ({ nominated }) => nominated);
    const figures = {};
    const codec = report.get(outbound?.codecId) || report.get(inbound?.codecId);
    if (codec) {
      const clock = codec.mimeType.endsWith('G722') ? 16 : codec.clockRate / 1000;
      figures.codec = `${codec.mimeType.replace('audio/', '')}, ${clock} kHz`;
    }
    const rtt = heard?.roundTripTime ?? pair?.currentRoundTripTime;
    if (rtt !== undefined) figures.rtt = `${(rtt * 1000).toFixed(rtt < 0.01 ? 1 : 0)} ms`;
    if (inbound) {
      if (inbound.packetsReceived > 0) figures.jitter = `${(inbound.jitter * 1000).toFixed(1)} ms`;
      const { lost, all } = this.#since('loss', { lost: inbound.packetsLost, all: inbound.packetsReceived + inbound.packetsLost });
      const total = inbound.packetsReceived + inbound.packetsLost;
      if (total > 0) {
        const now = all > 0 ? Math.max(0, (lost / all) * 100) : 0;
        figures.loss = `${now.toFixed(1)} %, ${Math.max(0, inbound.packetsLost)} in all`;
      }
      const { bytes, at } = this.#since('in', { bytes: inbound.bytesReceived, at: inbound.timestamp });
      if (at > 0) figures.down = `${Math.round((bytes * 8) / at)} kbit/s`;
      if (inbound.jitterBufferEmittedCount > 0) {
        figures.buffer = `${Math.round((inbound.jitterBufferDelay / inbound.jitterBufferEmittedCount) * 1000)} ms`;
      }
    }
    if (outbound) {
      const { bytes, at } = this.#since('out', { bytes: outbound.bytesSent, at: outbound.timestamp });
      if (at > 0) figures.up = `${Math.round((bytes * 8) / at)} kbit/s`;
    }
    if (pair) {
      const local = report.get(pair.localCandidateId);
      const remote = report.get(pair.remoteCandidateId);
      if (remote) figures.path = `${remote.candidateType || local?.candidateType}, ${remote.address || '?'}:${remote.port}`;
    }
    if (transport?.dtlsState === 'connected') {
      const version = { FEFF: 'DTLS 1.0', FEFD: 'DTLS 1.2', FEFC: 'DTLS 1.3' }[transport.tlsVersion] || 'DTLS';
      const cipher = { SRTP_AEAD_AES_128_GCM: 'AES-128-GCM', SRTP_AEAD_AES_256_GCM: 'AES-256-GCM', AEAD_AES_128_GCM: 'AES-128-GCM', AEAD_AES_256_GCM: 'AES-256-GCM', AES_CM_128_HMAC_SHA1_80: 'AES-128-CM', SRTP_AES128_CM_HMAC_SHA1_80: 'AES-128-CM' };
      figures.security = [version, cipher[transport.srtpCipher] || transport.srtpCipher].filter(Boolean).join(', ');
    }
    return figures;
  }

  #since(name, now) {
    const before = this.last.get(name);
    this.last.set(name, now);
    return Object.fromEntries(Object.entries(now).map(([key, value]) => [key, before ? value - before[key] : 0]));
  }
}
