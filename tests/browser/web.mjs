// usage: node web.mjs '{"peers": FOLDER, "url": "http://127.0.0.1:..", "folder": FOLDER}'
//
// `callbot web`'s own page in a real browser: it loads under its policy, calls by keyboard, hears, presses keys, holds, hangs up, says
// what went wrong, and fits a telephone's screen. Says each thing that holds; ends with 1 and why at the first that does not.
// With "shots": true it leaves screenshots in the folder.

import path from 'node:path';
import { createRequire } from 'node:module';

const options = JSON.parse(process.argv[2]);
const { chromium } = createRequire(path.join(path.resolve(options.peers), 'node_modules', 'x.js'))('playwright-core');
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-audio-output', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--ignore-certificate-errors',
    '--allow-loopback-in-peer-connection', '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
});

const complaints = [];
const holds = (fact, what) => {
  if (!fact) throw new Error(what);
  console.log(`ok ${what}`);
};

/** The page at this size; `before` runs in it before its own scripts. */
async function open(size, colorScheme, before = () => {}) {
  const viewport = size === 'phone' ? { width: 390, height: 844 } : { width: 1280, height: 800 };
  const context = await browser.newContext({ viewport, colorScheme, ignoreHTTPSErrors: true });
  const page = await context.newPage();
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.addInitScript(() => addEventListener('securitypolicyviolation', (v) => console.error(`policy: ${v.violatedDirective} ${v.blockedURI}`)));
  await page.addInitScript(before);
  await page.goto(options.url);
  await page.waitForFunction(() => document.querySelectorAll('.bot').length === 5 && document.body.dataset.server === 'up');
  return page;
}

const says = (page, id, words, timeout = 10_000) => page.waitForFunction(
  ([i, w]) => document.getElementById(i).textContent.includes(w), [id, words], { timeout },
).catch(async () => {
  const said = await page.evaluate(() => ['state', 'note', 'server'].map((i) => document.getElementById(i).textContent).join(' | '));
  throw new Error(`#${id} does not say "${words}"; the page says: ${said}`);
});
const pick = (page, user) => page.click(`.bot:has(input[value="${user}"])`);
/** Waits until a meter shows sound, in its picture and in figures. */
const moves = (page, id) => page.waitForFunction((i) => {
  const canvas = document.getElementById(i);
  const { data } = canvas.getContext('2d').getImageData(0, Math.round(canvas.height * 0.35), canvas.width, 1);
  return /^-\d+ dB$/.test(document.getElementById(`${i}-level`).textContent) && data.some((x, at) => at % 4 === 3 && x > 0);
}, id, { timeout: 8000, polling: 50 });
const shot = (page, name) => (options.shots ? page.screenshot({ path: path.join(options.folder, `${name}.png`) }) : null);
const narrow = async (page, what) => {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  holds(width <= 390, `${what} fits 390 pixels (${width})`);
};

try {
  const desk = await open('desktop', 'light');
  holds(await desk.locator('#state').textContent() === 'Ready', 'it is ready');
  await shot(desk, 'idle-desktop-light');
  await pick(desk, 'echo');
  await desk.keyboard.press('Enter');
  await says(desk, 'state', 'In call');
  await moves(desk, 'mine');
  await moves(desk, 'theirs');
  holds(true, 'Enter calls, and both meters move');
  for (const key of ['1', '5', '#']) {
    await desk.keyboard.press(key);
    await desk.waitForTimeout(300);
  }
  await desk.click('#key-9');
  holds(await desk.locator('#pressed').textContent() === '15#9', 'keys are pressed by keyboard and by mouse');
  await desk.waitForFunction(() => ['kHz', 'DTLS', 'kbit/s', 'ms'].every((word) => document.getElementById('figures').innerText.includes(word)));
  holds(/^00:0\d$/.test(await desk.locator('#timer').textContent()), 'figures and the timer are shown');
  await shot(desk, 'call-desktop-light');
  await desk.keyboard.press('m');
  holds(await desk.locator('#mute').getAttribute('aria-pressed') === 'true', 'm mutes');
  await desk.waitForFunction(() => document.getElementById('mine-level').textContent === 'silent', null, { timeout: 3000 });
  await desk.keyboard.press('m');
  await desk.keyboard.press('h');
  await says(desk, 'state', 'On hold');
  await desk.keyboard.press('h');
  await says(desk, 'state', 'In call');
  await moves(desk, 'theirs');
  holds(true, 'h holds and resumes, and the echo is there again');
  await desk.keyboard.press('Escape');
  await says(desk, 'state', 'You hung up');
  await desk.waitForFunction(() => document.getElementById('messages').textContent.includes('200 OK (BYE)'));
  holds(true, 'Esc hangs up');

  await desk.fill('#other', 'nobody');
  await desk.keyboard.press('Enter');
  await says(desk, 'state', 'No bot has this address (404)');
  await desk.fill('#other', 'not a < uri');
  await desk.keyboard.press('Enter');
  await says(desk, 'state', 'That is no SIP address');
  holds(true, 'refusals are said in words');
  await desk.context().close();

  const phone = await open('phone', 'dark', () => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
    Object.defineProperty(RTCRtpSender.prototype, 'dtmf', { get: () => null });
  });
  await narrow(phone, 'the list');
  await shot(phone, 'idle-phone-dark');
  await pick(phone, 'music');
  await phone.click('#call');
  await says(phone, 'state', 'In call');
  await says(phone, 'note', 'test tone');
  await moves(phone, 'mine');
  await moves(phone, 'theirs');
  holds(true, 'without a microphone a test tone is sent');
  await narrow(phone, 'a call');
  await phone.click('#key-3');
  await phone.waitForFunction(() => document.getElementById('messages').textContent.includes('200 OK (INFO)'));
  holds(true, 'without telephone-events keys go by INFO');
  await shot(phone, 'call-phone-dark');
  const dark = await phone.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await phone.click('#theme');
  const light = await phone.evaluate(() => getComputedStyle(document.body).backgroundColor);
  holds(dark !== light, `the theme can be changed: ${dark}, ${light}`);
  await phone.click('#call');
  await says(phone, 'state', 'You hung up');
  await phone.context().close();

  holds(complaints.length === 0, `the console is clean ${JSON.stringify(complaints)}`);
  await browser.close();
} catch (error) {
  console.log(`not ok ${error.message}`, complaints);
  await browser.close();
  process.exit(1);
}
