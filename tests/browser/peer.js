// One SIP user agent in a page: JsSIP, SIP.js or sipML5 behind the same few words, which run.mjs calls through `window.peer`.
// Events go to `window.tell`, which run.mjs puts there.

'use strict';

const tell = (event, detail) => window.tell({ event, ...detail });
const audio = { audio: true, video: false };

// ---- what the page says --------------------------------------------------------------------------------------------

// The microphone: sound that goes by no processing, which would take a tone for noise and make speech another.
const mouth = {};

function open() {
  const context = new AudioContext();
  context.resume();
  Object.assign(mouth, { context, out: context.createMediaStreamDestination() });
  // A real microphone takes its time; sipML5 answers twice when it has the stream before the remote description is set.
  const stream = () => sleep(100).then(() => mouth.out.stream.clone());
  navigator.mediaDevices.getUserMedia = stream;
  for (const old of ['getUserMedia', 'webkitGetUserMedia']) {
    if (navigator[old]) navigator[old] = (_, done) => stream().then(done);
  }
}

/// A steady tone. `level` is in dBov.
function hum({ hertz, level }) {
  open();
  Object.assign(mouth, { tone: mouth.context.createOscillator(), gain: mouth.context.createGain() });
  mouth.tone.frequency.value = hertz;
  mouth.gain.gain.value = Math.SQRT2 * 10 ** (level / 20);
  mouth.tone.connect(mouth.gain).connect(mouth.out);
  mouth.tone.start();
}

/// Gets ready to say what run.mjs serves under this name.
async function learn(url) {
  open();
  // A microphone is never without a signal: without a source nothing would be sent, not even a key.
  const silence = new ConstantSourceNode(mouth.context, { offset: 0 });
  silence.connect(mouth.out);
  silence.start();
  mouth.speech = await mouth.context.decodeAudioData(await (await fetch(url)).arrayBuffer());
}

/// Says it, once.
function say() {
  const source = mouth.context.createBufferSource();
  source.buffer = mouth.speech;
  source.connect(mouth.out);
  source.start();
}

// ---- what the page hears -------------------------------------------------------------------------------------------

const connections = [];
const ears = { context: null, analyser: null, pitches: [] };
const Native = window.RTCPeerConnection;

// Every library makes its connections through this class, so that each can be asked for its statistics.
window.RTCPeerConnection = class extends Native {
  constructor(configuration, ...rest) {
    // sipML5 would ask public STUN servers.
    super({ ...configuration, iceServers: window.iceServers, iceTransportPolicy: window.icePolicy }, ...rest);
    connections.push(this);
    this.addEventListener('track', ({ track, streams }) => {
      if (track.kind !== 'audio') return;
      const stream = streams[0] || new MediaStream([track]);
      document.getElementById('remote').srcObject = stream;
      listen(stream);
    });
    this.addEventListener('connectionstatechange', () => tell('media', { state: this.connectionState }));
  }
};
window.webkitRTCPeerConnection = window.RTCPeerConnection;

function listen(stream) {
  ears.context = ears.context || new AudioContext();
  ears.context.resume();
  const analyser = ears.context.createAnalyser();
  analyser.fftSize = 8192;
  ears.source = ears.context.createMediaStreamSource(stream);
  ears.source.connect(analyser);
  ears.analyser = analyser;
  const bins = new Float32Array(analyser.frequencyBinCount);
  const timer = setInterval(() => {
    if (ears.analyser !== analyser) return clearInterval(timer);
    analyser.getFloatFrequencyData(bins);
    let loudest = 1;
    for (let bin = 2; bin < bins.length; bin++) if (bins[bin] > bins[loudest]) loudest = bin;
    const hertz = Math.round((loudest * ears.context.sampleRate) / analyser.fftSize);
    ears.pitches.push(bins[loudest] > -60 ? hertz : 0);
    if (ears.pitches.length > 3000) ears.pitches.shift();
  }, 100);
}

const tape = `registerProcessor('tape', class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
});`;

/// Keeps what the page hears from now on.
async function record() {
  ears.tape = [];
  const context = ears.context;
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([tape], { type: 'text/javascript' })));
  const node = new AudioWorkletNode(context, 'tape');
  node.port.onmessage = ({ data }) => ears.tape.push(data);
  // Only what leads to the speakers runs; it gives them silence.
  ears.source.connect(node).connect(context.destination);
}

/// What was kept so far: the rate, and 16-bit samples in base64.
function recorded() {
  const samples = new Int16Array(ears.tape.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of ears.tape) for (const value of part) samples[at++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
  const bytes = new Uint8Array(samples.buffer);
  const text = [];
  for (let from = 0; from < bytes.length; from += 32768) text.push(String.fromCharCode(...bytes.subarray(from, from + 32768)));
  return { rate: ears.context.sampleRate, samples: btoa(text.join('')) };
}

/// Every pitch heard in the last `seconds`, one each 100 ms.
const pitches = (seconds) => ears.pitches.slice(-10 * seconds);

/// The pitch heard most in the last `seconds`, 0 for silence, null for nothing at all.
function heard(seconds) {
  const counts = new Map();
  for (const hertz of ears.pitches.slice(-10 * seconds)) counts.set(hertz, (counts.get(hertz) || 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1])[0];
  return most ? most[0] : null;
}

async function statistics() {
  const all = [];
  for (const connection of connections) {
    if (connection.connectionState === 'closed') continue;
    const reports = [...(await connection.getStats()).values()];
    const find = (fits) => reports.find(fits) || {};
    const codec = (id) => find((report) => report.id === id).mimeType;
    const inbound = find((report) => report.type === 'inbound-rtp' && report.kind === 'audio');
    const outbound = find((report) => report.type === 'outbound-rtp' && report.kind === 'audio');
    const remote = find((report) => report.type === 'remote-inbound-rtp');
    const transport = find((report) => report.type === 'transport');
    const pair = find((report) => report.id === transport.selectedCandidatePairId);
    all.push({
      connection: connection.connectionState,
      ice: connection.iceConnectionState,
      received: inbound.packetsReceived, lost: inbound.packetsLost, jitter: inbound.jitter,
      energy: inbound.totalAudioEnergy, level: inbound.audioLevel, samples: inbound.totalSamplesReceived,
      concealed: inbound.concealedSamples, delay: inbound.jitterBufferDelay / inbound.jitterBufferEmittedCount,
      sent: outbound.packetsSent, roundTrip: remote.roundTripTime, remoteLost: remote.packetsLost,
      codecIn: codec(inbound.codecId), codecOut: codec(outbound.codecId),
      dtls: transport.dtlsState, tls: transport.tlsVersion, srtp: transport.srtpCipher,
      local: find((report) => report.id === pair.localCandidateId).candidateType,
      remote: find((report) => report.id === pair.remoteCandidateId).candidateType,
    });
  }
  return all;
}

// ---- the libraries -------------------------------------------------------------------------------------------------

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const libraries = {};

libraries.jssip = async (options) => {
  await script('/pack/jssip.js');
  const { JsSIP } = window;
  JsSIP.debug.disable();
  const agent = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(options.server)],
    uri: `sip:${options.user}@${options.domain}`,
    password: options.password,
    register: options.register,
    register_expires: 120,
    session_timers: false,
  });
  let session;
  const sessions = [];
  const news = Object.fromEntries(['requestSucceeded', 'requestFailed', 'trying', 'progress', 'accepted', 'failed'].map((kind) => [
    kind, (what) => tell('transfer', { kind, status: what?.status_line?.status_code || what?.response?.status_code }),
  ]));
  agent.on('connected', () => tell('connected'));
  agent.on('disconnected', () => tell('disconnected'));
  agent.on('registered', () => tell('registered'));
  agent.on('unregistered', () => tell('unregistered'));
  agent.on('registrationFailed', ({ cause, response }) => tell('refused', { cause, status: response?.status_code }));
  agent.on('newMessage', ({ originator, request }) => originator === 'remote' && tell('text', { body: request.body, from: request.from.uri.toString() }));
  agent.on('newRTCSession', (news) => {
    session = news.session;
    const names = { progress: 'ringing', confirmed: 'established', ended: 'ended', failed: 'failed', hold: 'hold', unhold: 'resume' };
    for (const [theirs, ours] of Object.entries(names)) {
      session.on(theirs, (what) => tell(ours, { cause: what?.cause, by: what?.originator, status: what?.message?.status_code }));
    }
    sessions.push(session);
    // As a telephone that follows a transfer, and one in a call that another takes over.
    session.on('refer', (request) => { tell('referred', { to: request.request.refer_to.uri.toString() }); request.accept(undefined, { mediaConstraints: audio }); });
    session.on('replaces', (request) => { tell('replaced'); request.accept(() => {}); });
    session.on('newDTMF', ({ originator, dtmf }) => originator === 'remote' && tell('digit', { digit: dtmf.tone, way: 'info' }));
    if (news.originator === 'remote') {
      tell('incoming', { from: session.remote_identity.uri.toString() });
      if (options.answers) session.answer({ mediaConstraints: audio });
    }
  });
  agent.start();
  const settled = (start, event) => new Promise((resolve, reject) => {
    if (!start(resolve)) reject(new Error(`${event} is not possible now`));
  });
  return {
    call: (uri) => void agent.call(uri, { mediaConstraints: audio }),
    answer: () => session.answer({ mediaConstraints: audio }),
    hangUp: () => session.terminate(),
    press: (digit, way) => session.sendDTMF(digit, { transportType: way === 'info' ? 'INFO' : 'RFC2833' }),
    restart: () => settled((done) => session.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, done), 'restart'),
    hold: () => settled((done) => session.hold({}, done), 'hold'),
    resume: () => settled((done) => session.unhold({}, done), 'resume'),
    text: (uri, words) => new Promise((resolve) => agent.sendMessage(uri, words, {
      eventHandlers: { succeeded: ({ response }) => resolve(response.status_code), failed: ({ response, cause }) => resolve(response?.status_code || cause) },
    })),
    options: (uri) => new Promise((resolve) => agent.sendOptions(uri, undefined, {
      eventHandlers: { succeeded: ({ response }) => resolve(response.status_code), failed: ({ response, cause }) => resolve(response?.status_code || cause) },
    })),
    transfer: (uri) => session.refer(uri, { eventHandlers: news }),
    // The call before the newest one is handed over to the newest one's far end.
    transferTo: () => sessions.at(-2).refer(session.remote_identity.uri, { replaces: session, eventHandlers: news }),
    unregister: () => agent.unregister(),
  };
};

libraries.sipjs = async (options) => {
  const SIP = await import('/modules/sip.js/lib/index.js');
  const constraints = { sessionDescriptionHandlerOptions: { constraints: audio } };
  let session;
  const follow = (news) => {
    session = news;
    session.stateChange.addListener((state) => {
      if (state === 'Established') tell('established');
      if (state === 'Terminated') tell('ended');
    });
    session.delegate = {
      onInfo: (info) => {
        const signal = /Signal=\s*(\S)/.exec(info.request.body);
        tell('digit', { digit: signal?.[1], way: 'info' });
        info.accept();
      },
      onBye: (bye) => { tell('bye'); bye.accept(); },
    };
  };
  const agent = new SIP.UserAgent({
    uri: SIP.UserAgent.makeURI(`sip:${options.user}@${options.domain}`),
    transportOptions: { server: options.server },
    authorizationUsername: options.user,
    authorizationPassword: options.password,
    logLevel: 'warn',
    sessionDescriptionHandlerFactoryOptions: { iceGatheringTimeout: 500, peerConnectionConfiguration: {} },
    delegate: {
      onConnect: () => tell('connected'),
      onDisconnect: () => tell('disconnected'),
      onInvite: (invitation) => {
        follow(invitation);
        tell('incoming', { from: invitation.remoteIdentity.uri.toString() });
        if (options.answers) invitation.accept(constraints);
      },
    },
  });
  await agent.start();
  const registerer = new SIP.Registerer(agent, { expires: 120 });
  registerer.stateChange.addListener((state) => tell(state === 'Registered' ? 'registered' : 'unregistered'));
  if (options.register) {
    await registerer.register({ requestDelegate: { onReject: ({ message }) => tell('refused', { status: message.statusCode }) } });
  }
  const again = (options) => new Promise((resolve, reject) => session.invite({
    sessionDescriptionHandlerOptions: { constraints: audio, ...options },
    requestDelegate: { onAccept: resolve, onReject: ({ message }) => reject(new Error(`refused with ${message.statusCode}`)) },
  }).catch(reject));
  const held = (hold) => again({ hold }).then(() => { tell(hold ? 'hold' : 'resume'); });
  return {
    call: async (uri) => {
      const inviter = new SIP.Inviter(agent, SIP.UserAgent.makeURI(uri), constraints);
      follow(inviter);
      await inviter.invite({
        requestDelegate: {
          onProgress: ({ message }) => tell('ringing', { status: message.statusCode }),
          onReject: ({ message }) => tell('failed', { status: message.statusCode, cause: message.reasonPhrase }),
        },
      });
    },
    answer: () => session.accept(constraints),
    hangUp: () => {
      if (session.state === 'Established') return session.bye();
      return session instanceof SIP.Inviter ? session.cancel() : session.reject();
    },
    press: (digit, way) => {
      if (way !== 'info') return session.sessionDescriptionHandler.sendDtmf(digit);
      const body = { contentDisposition: 'render', contentType: 'application/dtmf-relay', content: `Signal=${digit}\r\nDuration=160` };
      return session.info({ requestOptions: { body } });
    },
    restart: () => again({ hold: false, offerOptions: { iceRestart: true } }).then(() => null),
    hold: () => held(true),
    resume: () => held(false),
    options: (uri) => new Promise((resolve) => {
      const target = SIP.UserAgent.makeURI(uri);
      const request = agent.userAgentCore.makeOutgoingRequestMessage('OPTIONS', target, agent.configuration.uri, target, {});
      agent.userAgentCore.request(request, {
        onAccept: ({ message }) => resolve(message.statusCode),
        onReject: ({ message }) => resolve(message.statusCode),
      });
    }),
    unregister: () => registerer.unregister(),
  };
};

libraries.sipml = async (options) => {
  await script('/modules/sipml/SIPml-api.js');
  const { SIPml } = window;
  const remote = document.getElementById('remote');
  let session, registration;
  const follow = (news) => {
    const names = { connected: 'established', terminated: 'ended', i_ao_request: 'ringing', m_local_hold_ok: 'hold', m_local_resume_ok: 'resume',
      o_ect_trying: 'transfer', o_ect_accepted: 'transfer', o_ect_completed: 'transfer', o_ect_failed: 'transfer', o_ect_notify: 'transfer' };
    return { audio_remote: remote, events_listener: { events: '*', listener: ({ type, description, getSipResponseCode }) => {
      if (names[type]) tell(names[type], { cause: description, kind: type });
    } } };
  };
  const stack = await new Promise((resolve, reject) => SIPml.init(() => {
    SIPml.setDebugLevel('error');
    const made = new SIPml.Stack({
      realm: options.domain, impi: options.user, impu: `sip:${options.user}@${options.domain}`, password: options.password,
      websocket_proxy_url: options.server, enable_rtcweb_breaker: false, ice_servers: [],
      events_listener: { events: '*', listener: (what) => {
        if (what.type === 'started') { tell('connected'); resolve(made); }
        if (what.type === 'failed_to_start') reject(new Error(what.description));
        if (what.type === 'i_new_call') {
          session = what.newSession;
          session.setConfiguration(follow());
          tell('incoming', { from: session.getRemoteUri() });
          if (options.answers) session.accept(follow());
        }
      } },
    });
    made.start();
  }, reject));
  if (options.register) {
    registration = stack.newSession('register', { expires: 120, events_listener: { events: '*', listener: ({ type, description }) => {
      if (type === 'connected') tell('registered');
      if (type === 'terminated') tell('unregistered', { cause: description });
    } } });
    registration.register();
  }
  return {
    call: (uri) => { session = stack.newSession('call-audio', follow()); session.call(uri); },
    answer: () => session.accept(follow()),
    hangUp: () => session.hangup(),
    press: (digit) => session.dtmf(digit),
    hold: () => session.hold(),
    resume: () => session.resume(),
    transfer: (uri) => void session.transfer(uri),
    unregister: () => registration.unregister(),
  };
};

function script(source) {
  return new Promise((resolve, reject) => {
    const element = document.createElement('script');
    Object.assign(element, { src: source, onload: resolve, onerror: () => reject(new Error(`no ${source}`)) });
    document.head.append(element);
  });
}

// ---- what run.mjs calls --------------------------------------------------------------------------------------------

let agent;
window.peer = {
  start: async (options) => {
    window.iceServers = options.iceServers || [];
    window.icePolicy = options.icePolicy || 'all';
    if (options.tone) hum(options.tone);
    if (options.speech) await learn('/speech.wav');
    agent = await libraries[options.library](options);
  },
  act: async (name, ...words) => {
    const result = await agent[name](...words);
    return typeof result === 'number' || typeof result === 'string' ? result : null;
  },
  press: async (digits, way) => {
    for (const digit of digits) {
      await agent.press(digit, way);
      await sleep(way === 'info' ? 400 : 300);
    }
  },
  say,
  record,
  recorded,
  statistics,
  heard,
  pitches,
  descriptions: () => connections.map((connection) => ({
    local: connection.localDescription?.sdp, remote: connection.remoteDescription?.sdp,
  })),
};
