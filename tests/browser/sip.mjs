// usage: node sip.mjs FILE
//
// The web page's own SIP user agent (its sip.js) against a scripted far end: what no bot of ours does to it, but others may.

import assert from 'node:assert/strict';
import fs from 'node:fs';

const text = fs.readFileSync(process.argv[2], 'utf8');
const { UserAgent, parse, list, uriOf, tagOf } = await import(`data:text/javascript,${encodeURIComponent(text)}`);

let socket;
globalThis.WebSocket = class {
  static OPEN = 1;
  readyState = 1;
  sent = [];
  constructor() { socket = this; queueMicrotask(() => this.onopen()); }
  send(data) { this.sent.push(parse(data)); }
  hear(...lines) { this.onmessage({ data: `${lines.join('\r\n')}\r\n\r\n` }); }
  last(method) { return this.sent.findLast((message) => message.method === method); }
};
const soon = () => new Promise((done) => { setTimeout(done, 5); });

/** A response to a request, with this tag. */
function respond(request, status, tag, ...more) {
  socket.hear(`SIP/2.0 ${status} Said`, `Via: ${request.get('via')}`, `From: ${request.get('from')}`,
    `To: ${request.get('to')}${tag ? `;tag=${tag}` : ''}`, `Call-ID: ${request.get('call-id')}`, `CSeq: ${request.get('cseq')}`, ...more);
}
/** A request of the far end within the call. */
function ask(invite, tag, method, seq, ...more) {
  socket.hear(`${method} sip:browser@x SIP/2.0`, `v: SIP/2.0/WS far;branch=z9hG4bK${method}${seq}`, `f: <sip:bot@x>;tag=${tag}`,
    `t: ${invite.get('from')}`, `i: ${invite.get('call-id')}`, `CSeq: ${seq} ${method}`, ...more);
}
async function call() {
  const heard = [];
  const agent = new UserAgent('ws://x/', { domain: 'x' });
  agent.connect();
  await soon();
  const made = agent.call('sip:bot@x', 'v=0', {
    progress: (status) => heard.push(status), answered: () => heard.push('answered'), ended: (how) => heard.push(`ended by ${how.by}: ${how.status}`),
    offered: async (sdp) => { heard.push(`offered ${sdp}`); return 'v=1'; }, info: (type, body) => heard.push(`info ${type} ${body}`),
  });
  return { made, heard, invite: socket.last('INVITE') };
}

// Headers as others write them.
assert.deepEqual(list('"a, b" <sip:a@x;p=1,2>;q=1, sip:b@x'), ['"a, b" <sip:a@x;p=1,2>;q=1', 'sip:b@x']);
assert.equal(uriOf('"A <sip:evil@x>" <sip:a@b>;tag=1'), 'sip:a@b');
assert.equal(tagOf('<sip:a@b;tag=no>;x=1;tag=yes'), 'yes');
assert.equal(parse('hello\r\n\r\n'), null);

{ // Route set, target and ACK of a 2xx; a 2xx again; another branch of a fork.
  const { invite, heard } = await call();
  respond(invite, 180, 'a');
  respond(invite, 200, 'a', 'Contact: <sip:bot@far:1;transport=ws>', 'Record-Route: <sip:p2;lr>, <sip:p1;lr>');
  const ack = socket.last('ACK');
  assert.equal(ack.uri, 'sip:bot@far:1;transport=ws');
  assert.deepEqual(ack.all('route'), ['<sip:p1;lr>', '<sip:p2;lr>']);
  assert.notEqual(ack.branch, invite.branch);
  respond(invite, 200, 'a');
  respond(invite, 200, 'b', 'Contact: <sip:other@far>');
  assert.equal(socket.sent.filter(({ method }) => method === 'ACK').length, 3);
  assert.equal(socket.last('BYE').uri, 'sip:other@far');
  assert.deepEqual(heard, [180, 'answered']);
  // What comes within the call; a late CSeq is refused, a re-INVITE answered until its ACK.
  ask(invite, 'a', 'INVITE', 5, 'Content-Type: application/sdp');
  await soon();
  assert.deepEqual(socket.sent.slice(-2).map(({ status }) => status), [100, 200]);
  assert.equal(socket.sent.at(-1).body, 'v=1');
  ask(invite, 'a', 'ACK', 5);
  ask(invite, 'a', 'OPTIONS', 5);
  assert.equal(socket.sent.at(-1).status, 500);
  ask(invite, 'stranger', 'BYE', 9);
  assert.equal(socket.sent.at(-1).status, 481);
  ask(invite, 'a', 'BYE', 6);
  assert.equal(socket.sent.at(-1).status, 200);
  assert.equal(heard.at(-1), 'ended by them: 200');
}
{ // CANCEL waits for a provisional answer, and has the INVITE's branch; the 487 is acknowledged in its transaction.
  const { made, invite, heard } = await call();
  made.hangUp();
  assert.equal(socket.last('CANCEL'), undefined);
  respond(invite, 100);
  assert.equal(socket.last('CANCEL').branch, invite.branch);
  respond(invite, 487, 'a');
  assert.equal(socket.last('ACK').branch, invite.branch);
  assert.deepEqual(heard, ['ended by us: 487']);
}
{ // An answer that crosses a CANCEL is acknowledged and hung up.
  const { made, invite, heard } = await call();
  respond(invite, 180, 'a');
  made.hangUp();
  respond(invite, 200, 'a', 'Contact: <sip:bot@far>');
  assert.equal(socket.last('ACK').uri, 'sip:bot@far');
  assert.equal(socket.last('BYE').uri, 'sip:bot@far');
  assert.deepEqual(heard, [180, 'ended by us: 200']);
}
{ // Glare: theirs meets ours.
  const { made, invite } = await call();
  respond(invite, 200, 'a', 'Contact: <sip:bot@far>');
  const changed = made.reinvite('v=2');
  const ours = socket.last('INVITE');
  ask(invite, 'a', 'INVITE', 7);
  assert.equal(socket.sent.at(-1).status, 491);
  respond(ours, 491);
  await assert.rejects(changed, ({ status }) => status === 491);
  assert.equal(socket.last('ACK').branch, ours.branch);
}
{ // Requests that belong to no call.
  await call();
  const stray = (method, to) => socket.hear(`${method} sip:browser@x SIP/2.0`, 'Via: SIP/2.0/WS far;branch=z9hG4bKs', 'From: <sip:a@x>;tag=1', `To: ${to}`, 'Call-ID: stray', `CSeq: 1 ${method}`);
  for (const [method, to, status] of [['OPTIONS', '<sip:b@x>', 200], ['INVITE', '<sip:b@x>', 480], ['BYE', '<sip:b@x>;tag=2', 481], ['PUBLISH', '<sip:b@x>', 405]]) {
    stray(method, to);
    assert.equal(socket.sent.at(-1).status, status, method);
    assert.ok(tagOf(socket.sent.at(-1).get('to')));
  }
  const count = socket.sent.length;
  stray('ACK', '<sip:b@x>;tag=2');
  assert.equal(socket.sent.length, count);
}
console.log('ok');
process.exit(0);
