// The page: which bot, the call's state in words, keys, meters, figures and the SIP messages.

import { UserAgent } from './sip.js';
import { Media, TONE, audioContext, microphones, source } from './media.js';
import { Meter } from './meter.js';
import { icon } from './icons.js';

const $ = (id) => document.getElementById(id);
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
/** How long it may ring. */
const NO_ANSWER = 60_000;
/** How long audio may take once the call is answered. */
const NO_AUDIO = 12_000;
const LIVE = ['calling', 'ringing', 'talking', 'held'];
const FIGURES = [
  ['codec', 'Codec'], ['rtt', 'Round trip'], ['jitter', 'Jitter'], ['loss', 'Loss'], ['down', 'Receiving'], ['up', 'Sending'],
  ['buffer', 'Buffered'], ['security', 'Encryption'], ['path', 'Path'],
];

const host = location.host;
const meters = { mine: new Meter($('mine'), $('mine-level')), theirs: new Meter($('theirs'), $('theirs-level')) };
let current = null; // the call: { sip, media, began, .. }
let bots = [];

// ---- what is said ---------------------------------------------------------------------------------------------------

function show(state, words) {
  document.body.dataset.state = state;
  $('state').textContent = words;
  const live = LIVE.includes(state);
  const talking = state === 'talking' || state === 'held';
  $('call-word').textContent = !live ? 'Call' : talking ? 'Hang up' : 'Cancel';
  $('call').disabled = !live && !agent.isConnected;
  $('mute').disabled = !live;
  $('hold').disabled = !talking;
  for (const key of $('keypad').children) key.disabled = !talking;
  for (const input of $('bots').elements) input.disabled = live;
  document.title = live ? `${words} — callbot` : 'callbot — call a bot';
}

function note(text) {
  $('note').textContent = text || '';
  $('note').hidden = !text;
}

const REFUSALS = {
  403: 'refused: calls from here are not allowed (403)',
  404: 'no bot has this address (404)',
  408: 'no answer from the server',
  480: 'nobody there now (480)',
  484: 'the address is incomplete (484)',
  486: 'busy (486)',
  487: 'cancelled',
  488: 'refused: no audio format in common (488)',
  500: 'the bot failed (500)',
  503: 'the server takes no more calls just now (503)',
  600: 'busy (600)',
  603: 'declined (603)',
};

function ending({ status, reason, by, warning, moved }) {
  if (by === 'us') return ['idle', status === 200 ? 'You hung up' : 'Cancelled'];
  if (status === 200) return ['idle', reason ? `The bot hung up: ${reason}` : 'The bot hung up'];
  if (moved) return ['failed', `Moved to ${moved} (${status})`];
  const words = REFUSALS[status] || `refused: ${reason} (${status})`;
  return ['failed', `${words[0].toUpperCase()}${words.slice(1)}${warning ? ` — ${warning}` : ''}`];
}

// ---- the call -------------------------------------------------------------------------------------------------------

const agent = new UserAgent(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${host}/`, {
  domain: host,
  handlers: {
    connected() {
      document.body.dataset.server = 'up';
      $('server').textContent = host;
      if (!current) show(document.body.dataset.state, $('state').textContent);
    },
    disconnected() {
      document.body.dataset.server = 'down';
      $('server').textContent = 'Server out of reach, trying again…';
      if (current && !current.talks) over({ status: 0, by: 'network' });
      else if (current) note('The signalling connection is lost and is tried again; what is heard may go on meanwhile.');
      else show(document.body.dataset.state, $('state').textContent);
    },
    message: log,
  },
});

/** The URI that is to be called: the chosen bot's, or what stands in the field. */
function target() {
  const choice = $('bots').elements.bot?.value;
  const bot = bots.find(({ user }) => user === choice);
  if (bot) return { uri: `sip:${bot.user}@${host}`, title: bot.title };
  const text = $('other')?.value.trim() || '';
  if (!text) return { title: 'Another address', uri: '' };
  const uri = /^(sips?|tel):/i.test(text) ? text : `sip:${text.includes('@') ? text : `${text}@${host}`}`;
  return { uri, title: uri.replace(/^\w+:/, '').split(/[@;?]/)[0] };
}

function chosen() {
  const { uri, title } = target();
  $('callee').textContent = title;
  $('uri').textContent = uri || 'type a name or a SIP address';
  $('hints').replaceChildren(...hints(bots.find((bot) => uri === `sip:${bot.user}@${host}`)?.keys));
}

async function start() {
  const { uri } = target();
  if (current || !agent.isConnected) return;
  if (!/^(sips?|tel):[^\s<>"]+$/i.test(uri)) {
    show('failed', 'That is no SIP address');
    $('other')?.focus();
    return;
  }
  const call = { uri };
  current = call;
  document.body.dataset.called = '';
  audioContext();
  note('');
  $('pressed').textContent = '';
  figures({});
  show('calling', 'Asking for the microphone…');
  const input = await source($('microphone').value);
  if (current !== call) return input.end();
  note(input.trouble);
  if (input.trouble) $('microphone').value = TONE;
  else void listMicrophones();
  meters.mine.clear();
  meters.theirs.clear();
  meters.mine.listen(input.stream);
  call.media = new Media(input, {
    remote(stream) {
      $('remote').srcObject = stream;
      void $('remote').play().catch(() => {});
      meters.theirs.listen(stream);
    },
    state: (state) => current === call && onMedia(call, state),
  });
  call.media.mute($('mute').ariaPressed === 'true');
  let offer;
  try {
    offer = await call.media.offer();
  } catch (error) {
    return over({ status: 0, why: `This browser makes no WebRTC offer: ${error.message}` });
  }
  if (current !== call) return undefined;
  show('calling', 'Calling…');
  call.timeout = setTimeout(() => {
    call.why = 'No answer';
    call.sip.hangUp();
  }, NO_ANSWER);
  const mine = (act) => (...words) => (current === call ? act(...words) : undefined);
  call.sip = agent.call(uri, offer, {
    progress: mine((status, reason, body) => {
      if (status > 100) show('ringing', status === 183 ? 'In progress…' : 'Ringing…');
      if (body) void accept(call, body);
    }),
    answered: mine(async (body) => {
      clearTimeout(call.timeout);
      if (!call.talks) {
        call.talks = true;
        call.ticking = setInterval(() => tick(call), 1000);
        show('talking', 'Answered, connecting audio…');
        call.silence = setTimeout(() => {
          if (call.media.peer.connectionState !== 'connected') {
            note('The call stands, but no audio path does: ICE finds no way between browser and bot. A firewall, or a bot that does not speak WebRTC.');
          }
        }, NO_AUDIO);
      }
      await accept(call, body);
    }),
    ended: mine((how) => over(how)),
    offered: (body) => reoffered(call, body),
    info: mine((type, body) => {
      const digit = /Signal\s*=\s*([0-9A-D*#])/i.exec(body)?.[1] || (type === 'application/dtmf' ? body.trim() : '');
      if (digit) note(`The bot pressed ${digit}.`);
    }),
  });
  return undefined;
}

async function accept(call, sdp) {
  try {
    await call.media.accept(sdp);
  } catch (error) {
    call.why = `The bot’s answer does not fit: ${error.message}`;
    call.sip.hangUp();
  }
}

async function reoffered(call, sdp) {
  const answer = await call.media.answer(sdp);
  const held = call.media.direction && !call.media.direction.includes('recv');
  if (call.talks && current === call && !call.held) show(held ? 'held' : 'talking', held ? 'Held by the bot' : 'In call');
  return answer;
}

function onMedia(call, state) {
  if (state === 'connected') {
    call.began ||= performance.now();
    if (call.talks && !call.held) show('talking', 'In call');
    if ($('note').textContent.startsWith('The call stands')) note('');
    tick(call);
  } else if (state === 'disconnected') {
    note('The audio path is interrupted…');
  } else if (state === 'failed') {
    call.why = 'The audio path broke: ICE failed, the bot is out of reach';
    if (call.talks) call.sip.hangUp();
  }
}

function over(how) {
  const call = current;
  if (!call) return;
  current = null;
  for (const timer of [call.timeout, call.silence]) clearTimeout(timer);
  clearInterval(call.ticking);
  meters.mine.stop();
  meters.theirs.stop();
  call.media?.close();
  $('remote').srcObject = null;
  setHold(false);
  const words = how.why || call.why;
  if (words) show('failed', words);
  else if (how.by === 'network') show('failed', 'The server cannot be reached');
  else show(...ending(how));
  note('');
}

function hangUp() {
  const call = current;
  if (!call) return;
  if (call.sip) call.sip.hangUp();
  else over({ status: 487, by: 'us' });
}

async function tick(call) {
  if (call.began) {
    const seconds = Math.floor((performance.now() - call.began) / 1000);
    $('timer').textContent = `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`;
  }
  const now = await call.media.figures().catch(() => null);
  if (now && current === call) figures(now);
}

// ---- keys and buttons -----------------------------------------------------------------------------------------------

function press(key) {
  const call = current;
  if (!call?.talks) return;
  if (!call.media.press(key)) call.sip.info('application/dtmf-relay', `Signal=${key}\r\nDuration=160\r\n`);
  $('pressed').textContent += key;
  beep(key);
  const button = $(`key-${key}`);
  button?.classList.add('down');
  setTimeout(() => button?.classList.remove('down'), 140);
}

/** What a key sounds like, softly, for who presses it. */
function beep(key) {
  const at = '123A456B789C*0#D'.indexOf(key);
  if (at < 0) return;
  const audio = audioContext();
  const gain = new GainNode(audio, { gain: 0.03 });
  gain.connect(audio.destination);
  for (const frequency of [[697, 770, 852, 941][at >> 2], [1209, 1336, 1477, 1633][at & 3]]) {
    const oscillator = new OscillatorNode(audio, { frequency });
    oscillator.connect(gain);
    oscillator.start();
    oscillator.stop(audio.currentTime + 0.12);
  }
}

function mute() {
  if ($('mute').disabled) return;
  const muted = $('mute').ariaPressed !== 'true';
  $('mute').ariaPressed = String(muted);
  $('mute').lastElementChild.textContent = muted ? 'Muted' : 'Mute';
  current?.media?.mute(muted || current.held);
}

function setHold(held) {
  $('hold').ariaPressed = String(held);
  $('hold').lastElementChild.textContent = held ? 'Resume' : 'Hold';
}

async function hold() {
  const call = current;
  if (!call?.talks || call.changing) return;
  call.changing = true;
  const held = !call.held;
  for (let tries = 0; ; tries += 1) {
    try {
      await call.media.accept(await call.sip.reinvite(await call.media.holdOffer(held)));
      break;
    } catch (error) {
      await call.media.rollback(call.held).catch(() => {});
      if (error.status === 491 && tries < 3 && current === call) {
        // RFC 3261 14.1: who owns the Call-ID waits 2.1 to 4 s.
        await new Promise((done) => { setTimeout(done, 2100 + Math.random() * 1900); });
        continue;
      }
      call.changing = false;
      if (current === call) note(`The bot refuses to be ${held ? 'held' : 'resumed'}: ${error.message}`);
      return;
    }
  }
  call.changing = false;
  call.held = held;
  if (current !== call) return;
  call.media.mute(held || $('mute').ariaPressed === 'true');
  setHold(held);
  show(held ? 'held' : 'talking', held ? 'On hold' : 'In call');
}

$('call').onclick = () => (current ? hangUp() : start());
$('mute').onclick = mute;
$('hold').onclick = hold;
$('bots').onsubmit = (event) => { event.preventDefault(); };
$('bots').oninput = chosen;

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const { key, target: at } = event;
  const writes = at.matches('input[type="text"], select');
  if (key === 'Escape' && current) hangUp();
  else if (key === 'Enter' && !current && !at.closest('button, a, summary, select')) start();
  else if (writes) return;
  else if (/^[0-9*#]$/.test(key) && current?.talks) press(key);
  else if (key === 'm' || key === 'M') mute();
  else if (key === 'h' || key === 'H') hold();
  else return;
  event.preventDefault();
});

const LETTERS = { 2: 'ABC', 3: 'DEF', 4: 'GHI', 5: 'JKL', 6: 'MNO', 7: 'PQRS', 8: 'TUV', 9: 'WXYZ', 0: '+' };
for (const key of '123456789*0#') {
  const label = { '*': 'Star', '#': 'Hash' }[key] || key;
  const button = make('button', { type: 'button', id: `key-${key}`, ariaLabel: label, disabled: true }, key, make('small', { ariaHidden: 'true', textContent: LETTERS[key] || '' }));
  button.onclick = () => press(key);
  $('keypad').append(button);
}

// ---- microphones, figures, messages ---------------------------------------------------------------------------------

async function listMicrophones() {
  const select = $('microphone');
  const kept = select.value;
  const found = await microphones();
  const named = found.filter(({ label, deviceId }) => label && deviceId !== 'default');
  const options = named.map(({ label, deviceId }) => make('option', { value: deviceId, textContent: label }));
  select.replaceChildren(select.options[0], ...options, select.querySelector(`option[value="${TONE}"]`));
  select.value = [...select.options].some(({ value }) => value === kept) ? kept : '';
}

$('microphone').onchange = async () => {
  const call = current;
  if (!call?.media) return;
  const input = await source($('microphone').value);
  if (current !== call) return void input.end();
  note(input.trouble);
  await call.media.use(input);
  meters.mine.listen(input.stream);
};
navigator.mediaDevices?.addEventListener?.('devicechange', listMicrophones);

function figures(now) {
  $('figures').replaceChildren(...FIGURES.map(([name, label]) => {
    const known = now[name] !== undefined;
    return make('div', {}, make('dt', { textContent: label }), make('dd', { textContent: known ? now[name] : '–', className: known ? '' : 'none' }));
  }));
  if (!current) return;
  if (!current.began) $('timer').textContent = '';
}

const first = performance.now();
function log(out, text) {
  const line = text.slice(0, text.indexOf('\r\n'));
  const seq = /^CSeq:\s*\d+\s+(\S+)/im.exec(text)?.[1];
  const words = line.startsWith('SIP/2.0 ') ? `${line.slice(8)}${seq && seq !== 'INVITE' ? ` (${seq})` : ''}` : line.replace(/ SIP\/2\.0$/, '');
  const seconds = ((performance.now() - first) / 1000).toFixed(2);
  const summary = make('summary', {},
    make('span', { className: 'arrow', textContent: out ? '→' : '←', ariaLabel: out ? 'sent' : 'received' }),
    make('span', { className: 'first', textContent: words }),
    make('span', { className: 'number', textContent: `${seconds} s` }));
  const item = make('li', { className: out ? 'out' : 'in' }, make('details', {}, summary, make('pre', { textContent: text.trimEnd() })));
  const box = $('messages');
  const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(item);
  while (box.children.length > 200) box.firstElementChild.remove();
  if (follows) box.scrollTop = box.scrollHeight;
  $('count').textContent = String(Number($('count').textContent) + 1);
}

// ---- theme ----------------------------------------------------------------------------------------------------------

const THEMES = { '': ['auto', 'as the system'], light: ['sun', 'light'], dark: ['moon', 'dark'] };
function theme(name) {
  const root = document.documentElement;
  if (name) root.dataset.theme = name;
  else delete root.dataset.theme;
  const [picture, words] = THEMES[name];
  $('theme').replaceChildren(icon(picture));
  $('theme').ariaLabel = `Theme: ${words}. Change`;
  $('theme').title = `Theme: ${words}`;
  for (const meter of Object.values(meters)) meter.draw();
}
const stored = () => { try { return localStorage.getItem('theme') || ''; } catch { return ''; } };
let chosenTheme = stored() in THEMES ? stored() : '';
$('theme').onclick = () => {
  const names = Object.keys(THEMES);
  chosenTheme = names[(names.indexOf(chosenTheme) + 1) % names.length];
  try { localStorage.setItem('theme', chosenTheme); } catch { /* a private window keeps nothing */ }
  theme(chosenTheme);
};
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => theme(chosenTheme));
theme(chosenTheme);

// ---- bots -----------------------------------------------------------------------------------------------------------

const hints = (keys = []) => keys.map(([key, words]) => make('span', {}, make('kbd', { textContent: key }), ` ${words}`));

function card(value, { title, about, icon: name, keys }, ...more) {
  const radio = make('input', { type: 'radio', name: 'bot', value });
  const text = make('strong', { textContent: title });
  return make('label', { className: 'bot' }, radio, make('span', { className: 'icon' }, icon(name)), text,
    make('span', { className: 'about', textContent: about }), ...more, make('span', { className: 'hints' }, ...hints(keys)));
}

async function load() {
  try {
    const answer = await fetch('/bots.json');
    ({ bots } = await answer.json());
  } catch (error) {
    show('failed', `The list of bots cannot be read: ${error.message}`);
    return;
  }
  const other = make('input', {
    type: 'text', id: 'other', placeholder: `name, or sip:name@${host}`, ariaLabel: 'SIP address', autocomplete: 'off', spellcheck: false, autocapitalize: 'off',
  });
  const field = card('', { title: 'Another address', about: 'Whatever this server takes calls for', icon: 'at' }, other);
  other.onfocus = () => { field.firstElementChild.checked = true; chosen(); };
  $('bots').replaceChildren(...bots.map((bot) => card(bot.user, bot)), field);
  const wanted = decodeURIComponent(location.hash.slice(1));
  const index = Math.max(0, bots.findIndex(({ user }) => user === wanted));
  $('bots').querySelectorAll('input[type="radio"]')[index].checked = true;
  chosen();
  show('idle', 'Ready');
}

figures({});
agent.connect();
void load();
void listMicrophones();
addEventListener('pagehide', () => current?.sip?.hangUp());
