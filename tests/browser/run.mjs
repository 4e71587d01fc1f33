// usage: node run.mjs '{"peers": FOLDER, "control": PORT, "library": "jssip", "server": "ws://..", "user": .., "domain": ..,
//                       "password": .., "register": true, "answers": true, "microphone": FILE.wav, "folder": FOLDER,
//                       "browser": "firefox"}'
//
// A browser with one SIP user agent, driven over a TCP connection by lines of JSON: {"id": 1, "do": "call", "with": ["sip:.."]} is
// answered with {"id": 1, "ok": ..} or {"id": 1, "error": ".."}; what happens meanwhile is told as {"event": ..}. The browser ends
// when that connection does.

import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { pack } from './pack.mjs';

const options = { register: false, answers: true, password: '', ...JSON.parse(process.argv[2]) };
const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.join(path.resolve(options.peers), 'node_modules');
const load = createRequire(path.join(modules, 'x.js'));

// ---- the page's own server -----------------------------------------------------------------------------------------

const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json' };

function find(url) {
  const { pathname } = new URL(url, 'http://localhost');
  if (pathname === '/') return fs.readFileSync(path.join(here, 'page.html'));
  if (pathname === '/favicon.ico') return '';
  if (pathname === '/speech.wav') return fs.readFileSync(options.speech);
  if (pathname === '/peer.js') return fs.readFileSync(path.join(here, 'peer.js'));
  if (pathname === '/pack/jssip.js') return pack(path.join(modules, 'jssip/lib/JsSIP.js'), 'JsSIP', modules);
  const file = path.join(modules, path.normalize(pathname.replace(/^\/modules\//, '')));
  return file.startsWith(modules) ? fs.readFileSync(file) : undefined;
}

const site = http.createServer((request, response) => {
  try {
    const body = find(request.url);
    const type = types[path.extname(new URL(request.url, 'http://localhost').pathname)] || 'text/html';
    response.writeHead(200, { 'content-type': type }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => site.listen(0, '127.0.0.1', done));

// ---- the browser ---------------------------------------------------------------------------------------------------

async function chromium() {
  const flags = [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-audio-output', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--ignore-certificate-errors',
  ];
  // Tests live on loopback, which WebRTC leaves out, and behind no resolver of .local names.
  if (!options.asShipped) flags.push('--allow-loopback-in-peer-connection', '--disable-features=WebRtcHideLocalIpsWithMdns');
  if (options.microphone) flags.push(`--use-file-for-fake-audio-capture=${options.microphone}`);
  const browser = await load('playwright-core').chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    args: flags,
  });
  // With the right to a microphone a page may see the machine's addresses; the tone needs none.
  const permissions = options.asShipped ? [] : ['microphone'];
  const context = await browser.newContext({ ignoreHTTPSErrors: true, permissions });
  return [browser, await context.newPage()];
}

// Debian's own Firefox: playwright would want one of its making. Its microphone is a tone of the browser's, whose pitch alone can
// be told it.
async function firefox() {
  const browser = await load('puppeteer-core').launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX || '/usr/bin/firefox-esr',
    headless: true,
    acceptInsecureCerts: true,
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true, 'media.navigator.permission.disabled': true, 'media.navigator.audio.fake_frequency': options.tone?.hertz || 440,
      'media.peerconnection.ice.loopback': true, 'media.peerconnection.ice.obfuscate_host_addresses': false, 'media.autoplay.default': 0,
      'network.proxy.type': 0, 'network.captive-portal-service.enabled': false, 'network.connectivity-service.enabled': false,
    },
  });
  options.tone = undefined;
  return [browser, await browser.newPage()];
}

const [browser, page] = await (options.browser === 'firefox' ? firefox() : chromium());
const sockets = new Set();
const say = (what) => {
  const line = `${JSON.stringify(what)}\n`;
  process.stdout.write(line);
  for (const socket of sockets) socket.write(line);
};
page.on('console', (message) => process.stderr.write(`${message.text().slice(0, 2000)}\n`));
page.on('pageerror', (error) => say({ event: 'pageerror', cause: error.message }));
await page.exposeFunction('tell', say);
await page.goto(`http://127.0.0.1:${site.address().port}/`);
await page.waitForFunction(() => window.peer);

// ---- the control connection ----------------------------------------------------------------------------------------

const commands = {
  start: () => page.evaluate((o) => window.peer.start(o), options),
  statistics: () => page.evaluate(() => window.peer.statistics()),
  pitches: (seconds) => page.evaluate((s) => window.peer.pitches(s), seconds),
  descriptions: () => page.evaluate(() => window.peer.descriptions()),
  heard: (seconds) => page.evaluate((s) => window.peer.heard(s), seconds || 2),
  press: (digits, way) => page.evaluate(([d, w]) => window.peer.press(d, w), [digits, way]),
  say: () => page.evaluate(() => window.peer.say()),
  record: () => page.evaluate(() => window.peer.record()),
  recorded: async (file) => {
    const { rate, samples } = await page.evaluate(() => window.peer.recorded());
    fs.writeFileSync(file, Buffer.from(samples, 'base64'));
    return rate;
  },
  screenshot: (file) => page.screenshot({ path: file }).then(() => null),
};

async function obey({ id, do: name, with: words = [] }) {
  try {
    const act = commands[name] || ((...rest) => page.evaluate(([n, r]) => window.peer.act(n, ...r), [name, rest]));
    say({ id, ok: (await act(...words)) ?? null });
  } catch (error) {
    say({ id, error: error.message });
  }
}

const control = net.createServer((socket) => {
  sockets.add(socket);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
    for (let end; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1)) obey(JSON.parse(text.slice(0, end)));
  });
  const over = async () => { await browser.close(); process.exit(0); };
  socket.on('end', over);
  socket.on('error', over);
});
control.listen(options.control, '127.0.0.1');
process.on('SIGTERM', async () => { await browser.close(); process.exit(0); });
