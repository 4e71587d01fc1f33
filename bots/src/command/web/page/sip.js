// A small SIP user agent over a WebSocket (RFC 3261, RFC 7118): it places calls, and answers what comes within them.
//
// Over a reliable transport nothing is sent twice but a 2xx to an INVITE until its ACK comes (RFC 3261 13.3.1.4).
// It knows nothing of media: bodies are strings. It is no registrar's client and has no digest; its peer is the
// server that the page came from.

const T1 = 500;
const TIMEOUT = 64 * T1;
const ALLOW = 'INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE';
const COMPACT = { v: 'via', f: 'from', t: 'to', i: 'call-id', m: 'contact', l: 'content-length', c: 'content-type', k: 'supported', s: 'subject', e: 'content-encoding' };

const token = (bytes = 8) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, '0')).join('');
const encoder = new TextEncoder();

/** Splits a header value at commas that stand neither in quotes nor in angle brackets. */
export function list(value) {
  const parts = [];
  let start = 0, quoted = false, angle = false;
  for (let at = 0; at < value.length; at += 1) {
    const c = value[at];
    if (quoted) {
      if (c === '\\') at += 1;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === '<') angle = true;
    else if (c === '>') angle = false;
    else if (c === ',' && !angle) {
      parts.push(value.slice(start, at).trim());
      start = at + 1;
    }
  }
  parts.push(value.slice(start).trim());
  return parts.filter(Boolean);
}

/** The URI of a From, To, Contact or Record-Route value. */
export const uriOf = (value) => /<([^>]*)>/.exec(value.replace(/^"(?:[^"\\]|\\.)*"/, ''))?.[1] ?? value.split(';')[0].trim();
/** Its tag, outside the URI. */
export const tagOf = (value) => /;\s*tag\s*=\s*([^;,\s]+)/i.exec(value.replace(/"(?:[^"\\]|\\.)*"/g, '').replace(/<[^>]*>/, ''))?.[1];

/** Reads one message; null when it is none. */
export function parse(text) {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const lines = text.slice(0, end).replace(/\r\n[ \t]+/g, ' ').split('\r\n');
  const first = lines.shift();
  const headers = [];
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon < 1) return null;
    const name = line.slice(0, colon).trim().toLowerCase();
    headers.push([COMPACT[name] || name, line.slice(colon + 1).trim()]);
  }
  const all = (name) => headers.filter(([key]) => key === name).flatMap(([, value]) => list(value));
  const get = (name) => headers.find(([key]) => key === name)?.[1];
  const message = { text, first, headers, all, get, body: text.slice(end + 4) };
  const status = /^SIP\/2\.0 (\d{3}) ?(.*)$/.exec(first);
  const request = /^([A-Za-z0-9.!%*_+`'~-]+) (\S+) SIP\/2\.0$/.exec(first);
  if (status) Object.assign(message, { status: Number(status[1]), reason: status[2] });
  else if (request) Object.assign(message, { method: request[1], uri: request[2] });
  else return null;
  const cseq = /^(\d{1,10})\s+(\S+)$/.exec(get('cseq') || '');
  if (!cseq || !get('via') || !get('from') || !get('to') || !get('call-id')) return null;
  Object.assign(message, { seq: Number(cseq[1]), cseqMethod: cseq[2] });
  message.branch = /;\s*branch\s*=\s*([^;,\s]+)/i.exec(all('via')[0])?.[1];
  return message;
}

function write(first, headers, body = '') {
  const lines = [first, ...headers.map(([name, value]) => `${name}: ${value}`), `Content-Length: ${encoder.encode(body).length}`];
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}

/**
 * The user agent. `handlers`: `connected()`, `disconnected()`, `message(outgoing, text)` for a log.
 */
export class UserAgent {
  constructor(url, { user = 'browser', domain, handlers = {} }) {
    Object.assign(this, { url, user, domain, handlers });
    this.host = `${token(6)}.invalid`;
    this.contact = `<sip:${user}@${this.host};transport=ws>`;
    this.via = url.startsWith('wss:') ? 'WSS' : 'WS';
    this.client = new Map();
    this.calls = new Map();
    this.backoff = 500;
  }

  connect() {
    this.stopped = false;
    const socket = new WebSocket(this.url, 'sip');
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => {
      this.backoff = 500;
      this.handlers.connected?.();
    };
    socket.onmessage = ({ data }) => this.#receive(typeof data === 'string' ? data : new TextDecoder().decode(data));
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.handlers.disconnected?.();
      if (this.stopped) return;
      setTimeout(() => this.connect(), this.backoff);
      this.backoff = Math.min(this.backoff * 2, 8000);
    };
  }

  get isConnected() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  send(text) {
    if (!this.isConnected) return false;
    this.handlers.message?.(true, text);
    this.socket.send(text);
    return true;
  }

  /** Begins a call with this offer; its handlers are those of `Call`. */
  call(uri, offer, handlers) {
    return new Call(this, uri, offer, handlers);
  }

  /** Sends a request; `answered(response)` for each response, `failed()` when none came in 32 s. */
  request(method, uri, headers, body, { branch = `z9hG4bK${token()}`, answered = () => {}, failed = () => {} } = {}) {
    const via = ['Via', `SIP/2.0/${this.via} ${this.host};branch=${branch}`];
    const text = write(`${method} ${uri} SIP/2.0`, [via, ['Max-Forwards', '70'], ...headers, ['User-Agent', 'callbot-web']], body);
    if (method !== 'ACK') {
      const key = `${branch} ${method}`;
      const timer = setTimeout(() => {
        this.client.delete(key);
        failed();
      }, TIMEOUT);
      this.client.set(key, { answered, timer, method });
    }
    if (!this.send(text)) setTimeout(failed, 0);
    return branch;
  }

  respond(request, status, reason, headers = [], body = '', tag = '') {
    const copied = request.headers.filter(([name]) => name === 'via').map(([, value]) => ['Via', value]);
    const to = request.get('to');
    this.send(write(`SIP/2.0 ${status} ${reason}`, [
      ...copied,
      ['From', request.get('from')],
      ['To', tagOf(to) || status === 100 ? to : `${to};tag=${tag || token()}`],
      ['Call-ID', request.get('call-id')],
      ['CSeq', request.get('cseq')],
      ...headers,
    ], body));
  }

  #receive(text) {
    if (/^[\r\n]*$/.test(text)) return;
    this.handlers.message?.(false, text);
    const message = parse(text);
    if (!message) return;
    if (message.status) this.#onResponse(message);
    else this.#onRequest(message);
  }

  #onResponse(response) {
    const key = `${response.branch} ${response.cseqMethod}`;
    const transaction = this.client.get(key);
    if (!transaction) return;
    clearTimeout(transaction.timer);
    if (response.status < 200) {
      // Only INVITE may stay without a final answer for long; Call gives up by itself.
      if (transaction.method !== 'INVITE') transaction.timer = setTimeout(() => this.client.delete(key), TIMEOUT);
    } else if (transaction.method === 'INVITE') {
      // Further 2xx may come, and each wants an ACK (RFC 6026: Timer M).
      transaction.timer = setTimeout(() => this.client.delete(key), TIMEOUT);
    } else {
      this.client.delete(key);
    }
    transaction.answered(response);
  }

  #onRequest(request) {
    const call = this.calls.get(request.get('call-id'));
    if (call?.owns(request)) return call.onRequest(request);
    switch (request.method) {
      case 'ACK':
        return undefined;
      case 'OPTIONS':
        return this.respond(request, 200, 'OK', [['Allow', ALLOW], ['Accept', 'application/sdp'], ['Contact', this.contact]]);
      case 'INVITE':
        if (!tagOf(request.get('to'))) return this.respond(request, 480, 'This page only calls');
        return this.respond(request, 481, 'Call Does Not Exist');
      case 'BYE': case 'CANCEL': case 'INFO': case 'UPDATE':
        return this.respond(request, 481, 'Call Does Not Exist');
      default:
        return this.respond(request, 405, 'Method Not Allowed', [['Allow', ALLOW]]);
    }
  }
}

/**
 * A call that this side placed. `handlers`: `progress(status, reason, body)`, `answered(body)`, `ended({status, reason, by, warning})`,
 * `offered(body) -> answer` for a re-INVITE (without a body: `-> offer`, and `answered` again), `info(type, body)`.
 */
export class Call {
  constructor(agent, uri, offer, handlers) {
    Object.assign(this, { agent, uri, handlers, state: 'calling', cseq: 1, remoteSeq: 0, routes: [], target: uri });
    this.id = `${token(12)}@${agent.host}`;
    this.from = `"Web phone" <sip:${agent.user}@${agent.domain}>;tag=${token()}`;
    this.to = `<${uri}>`;
    this.ackFor = new Map();
    agent.calls.set(this.id, this);
    const body = [['Contact', agent.contact], ['Allow', ALLOW], ['Accept', 'application/sdp'], ['Content-Type', 'application/sdp']];
    this.branch = agent.request('INVITE', uri, [...this.#headers('INVITE', 1), ...body], offer, {
      answered: (response) => this.#onAnswer(response),
      failed: () => this.#end({ status: 408, reason: 'Request Timeout', by: 'network' }),
    });
  }

  #headers(method, seq, to = this.to) {
    const routes = this.routes.map((route) => ['Route', route]);
    return [...routes, ['From', this.from], ['To', to], ['Call-ID', this.id], ['CSeq', `${seq} ${method}`]];
  }

  #onAnswer(response) {
    const { status, reason, body } = response;
    if (status < 200) {
      this.wasHeard = true;
      if (this.cancelling) this.#sendCancel();
      else if (this.state === 'calling') this.handlers.progress?.(status, reason, body);
      return;
    }
    if (status >= 300) {
      this.agent.request('ACK', this.uri, this.#headers('ACK', 1, response.get('to')), '', { branch: this.branch });
      const warning = /"(.*)"/.exec(response.get('warning') || '')?.[1];
      const moved = status < 400 ? response.all('contact').map(uriOf).join(', ') : '';
      this.#end({ status, reason, warning, moved, by: this.cancelling ? 'us' : 'them' });
      return;
    }
    const tag = tagOf(response.get('to'));
    const contact = response.all('contact')[0];
    const target = contact ? uriOf(contact) : this.uri;
    const routes = response.all('record-route').reverse();
    if (this.remoteTag === undefined) {
      Object.assign(this, { remoteTag: tag, to: response.get('to'), target, routes });
      this.#ack(1);
      if (this.cancelling || this.state !== 'calling') {
        this.bye('answered too late');
        return;
      }
      this.state = 'talking';
      this.handlers.answered?.(body);
    } else if (tag === this.remoteTag) {
      this.#ack(1);
    } else {
      // Another branch of a fork answered too: one call is enough.
      const headers = (method, seq) => this.#headers(method, seq, response.get('to'));
      this.agent.request('ACK', target, headers('ACK', 1), '');
      this.agent.request('BYE', target, headers('BYE', 2), '');
    }
  }

  #ack(seq) {
    this.agent.request('ACK', this.target, this.#headers('ACK', seq), '');
  }

  #sendCancel() {
    if (this.cancelSent || !this.wasHeard) return;
    this.cancelSent = true;
    this.agent.request('CANCEL', this.uri, this.#headers('CANCEL', 1), '', { branch: this.branch });
  }

  /** Gives up a call that rings, or hangs up one that stands. */
  hangUp() {
    if (this.state === 'talking') return this.bye();
    if (this.state !== 'calling' || this.cancelling) return undefined;
    this.cancelling = true;
    this.#sendCancel();
    // A far end that never answers must not hold the page.
    setTimeout(() => this.#end({ status: 487, reason: 'Request Terminated', by: 'us' }), this.wasHeard ? 4000 : 1500);
    return undefined;
  }

  bye(reason) {
    const why = reason ? [['Reason', `SIP;cause=200;text="${reason}"`]] : [];
    this.cseq += 1;
    this.agent.request('BYE', this.target, [...this.#headers('BYE', this.cseq), ...why], '');
    this.#end({ status: 200, reason: 'OK', by: 'us' });
  }

  /** A new offer within the call; resolves to the answer. */
  reinvite(offer) {
    if (this.state !== 'talking') return Promise.reject(new Error('there is no call'));
    if (this.pending) return Promise.reject(new Error('the call is just being changed'));
    this.pending = true;
    this.cseq += 1;
    const seq = this.cseq;
    const headers = [...this.#headers('INVITE', seq), ['Contact', this.agent.contact], ['Allow', ALLOW], ['Content-Type', 'application/sdp']];
    return new Promise((resolve, reject) => {
      const branch = this.agent.request('INVITE', this.target, headers, offer, {
        answered: (response) => {
          if (response.status < 200) return;
          this.pending = false;
          if (response.status < 300) {
            const contact = response.all('contact')[0];
            if (contact) this.target = uriOf(contact);
            this.#ack(seq);
            resolve(response.body);
            return;
          }
          this.agent.request('ACK', this.target, this.#headers('ACK', seq), '', { branch });
          const error = new Error(`${response.status} ${response.reason}`);
          error.status = response.status;
          reject(error);
          // RFC 3261 14.1: the far end knows of no call.
          if (response.status === 481 || response.status === 408) this.bye();
        },
        failed: () => {
          this.pending = false;
          reject(new Error('no answer'));
        },
      });
    });
  }

  /** A digit by INFO, for legs without telephone-event. */
  info(type, body) {
    this.cseq += 1;
    this.agent.request('INFO', this.target, [...this.#headers('INFO', this.cseq), ['Content-Type', type]], body);
  }

  /** Whether a request belongs to this dialog. */
  owns(request) {
    const ours = tagOf(this.from);
    return tagOf(request.get('to')) === ours && tagOf(request.get('from')) === this.remoteTag && this.state === 'talking';
  }

  onRequest(request) {
    const { agent } = this;
    if (request.method === 'ACK') {
      const wait = this.ackFor.get(request.seq);
      this.ackFor.delete(request.seq);
      clearTimeout(wait?.timer);
      if (wait?.wantsAnswer && request.body) this.handlers.answered?.(request.body);
      return;
    }
    if (request.method === 'CANCEL') {
      agent.respond(request, 200, 'OK');
      return;
    }
    if (request.seq <= this.remoteSeq) {
      agent.respond(request, 500, 'CSeq Out Of Order');
      return;
    }
    this.remoteSeq = request.seq;
    switch (request.method) {
      case 'BYE': {
        agent.respond(request, 200, 'OK');
        const why = request.get('reason') || '';
        this.#end({ status: 200, reason: /text="([^"]*)"/.exec(why)?.[1] || '', by: 'them' });
        return;
      }
      case 'INVITE':
        void this.#onReinvite(request);
        return;
      case 'INFO':
        agent.respond(request, 200, 'OK');
        this.handlers.info?.((request.get('content-type') || '').toLowerCase(), request.body);
        return;
      case 'UPDATE':
        if (request.body) agent.respond(request, 488, 'Not Acceptable Here');
        else agent.respond(request, 200, 'OK', [['Contact', agent.contact]]);
        return;
      case 'OPTIONS':
        agent.respond(request, 200, 'OK', [['Allow', ALLOW], ['Accept', 'application/sdp']]);
        return;
      default:
        agent.respond(request, 405, 'Method Not Allowed', [['Allow', ALLOW]]);
    }
  }

  async #onReinvite(request) {
    const { agent } = this;
    if (this.pending) {
      agent.respond(request, 491, 'Request Pending');
      return;
    }
    if (this.ackFor.size > 0) {
      agent.respond(request, 500, 'Server Internal Error', [['Retry-After', '2']]);
      return;
    }
    agent.respond(request, 100, 'Trying');
    const contact = request.all('contact')[0];
    let body;
    try {
      body = await this.handlers.offered(request.body);
    } catch {
      agent.respond(request, 488, 'Not Acceptable Here');
      return;
    }
    if (contact) this.target = uriOf(contact);
    const wait = { wantsAnswer: !request.body, timer: 0 };
    this.ackFor.set(request.seq, wait);
    const began = Date.now();
    const send = (interval) => {
      if (Date.now() - began > TIMEOUT) {
        this.ackFor.delete(request.seq);
        if (this.state === 'talking') this.bye('no ACK');
        return;
      }
      agent.respond(request, 200, 'OK', [['Contact', agent.contact], ['Allow', ALLOW], ['Content-Type', 'application/sdp']], body);
      wait.timer = setTimeout(() => send(Math.min(interval * 2, 4000)), interval);
    };
    send(T1);
  }

  #end(how) {
    if (this.state === 'ended') return;
    this.state = 'ended';
    for (const { timer } of this.ackFor.values()) clearTimeout(timer);
    // Late answers still find their call for a while.
    setTimeout(() => this.agent.calls.delete(this.id), TIMEOUT);
    this.handlers.ended?.(how);
  }
}
