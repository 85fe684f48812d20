// A Chromium with a profile of its own. It is gone when the driver is, however the driver ends.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { chromium } = require('playwright-core');

const PROGRAM = 'chromium';
const PROFILE_PREFIX = 'featbit-agent-browser-';
const START_TIMEOUT_MS = 60_000;
const STDERR_KEPT = 4_000;

// The pages are our own, and nothing but the loopback is to be reached.
const SWITCHES = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-quic',
  '--disable-breakpad',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-sync',
  '--no-default-browser-check',
  '--no-first-run',
  '--no-proxy-server',
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost',
  // Chromium ends when this pipe does, even if the driver was killed. The commands go through the port, because only
  // there does playwright-core leave a page's visibility alone, without which no tab can fall asleep.
  '--remote-debugging-pipe',
  '--remote-debugging-port=0',
];

function runs(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch ({ code }) {
    return code !== 'ESRCH';
  }
}

function remove(profile) {
  // Its last processes may still be writing.
  fs.rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}

/** A killed driver leaves its profile behind; the next one puts that right. */
function removeOrphans() {
  for (const name of fs.readdirSync(os.tmpdir())) {
    const pid = name.startsWith(PROFILE_PREFIX) && Number.parseInt(name.slice(PROFILE_PREFIX.length), 10);
    if (pid && !runs(pid)) {
      try {
        remove(path.join(os.tmpdir(), name));
      } catch {
        // Another user's, or the next driver's to try.
      }
    }
  }
}

/** Resolves to the address where the browser takes commands. */
function address(child) {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text) => {
      said = (said + text).slice(-STDERR_KEPT);
      const found = /DevTools listening on (ws:\S+)/.exec(said);
      if (found) {
        resolve(found[1]);
      }
    });
    child.once('error', reject);
    child.once('exit', (code, signal) => reject(new Error(`${PROGRAM} ended (${code ?? signal}): ${said}`)));
    setTimeout(() => reject(new Error(`${PROGRAM} does not start: ${said}`)), START_TIMEOUT_MS).unref();
  });
}

/** A running browser; its `context` holds the tabs. */
async function launch() {
  removeOrphans();
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), `${PROFILE_PREFIX}${process.pid}-`));
  const child = spawn(PROGRAM, [...SWITCHES, `--user-data-dir=${profile}`, 'about:blank'], {
    // Nothing of it outside its profile.
    env: { ...process.env, HOME: profile, TMPDIR: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    // A group of its own, so that all its processes can be ended at once.
    detached: true,
  });
  const ended = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
  const signal = (name) => {
    if (child.pid && child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, name);
    }
  };
  let guard = null;
  /** Stops all its processes where they are. Should the driver die meanwhile, they get to know it a minute later. */
  const suspend = () => {
    guard = spawn('sh', ['-c', `sleep 60; kill -CONT -- -${child.pid}`], { detached: true, stdio: 'ignore' });
    guard.unref();
    signal('SIGSTOP');
  };
  const resume = () => {
    signal('SIGCONT');
    process.kill(-guard.pid);
  };
  const end = async () => {
    signal('SIGKILL');
    await ended;
    remove(profile);
  };
  try {
    const browser = await chromium.connectOverCDP(await address(child), {
      noDefaults: true,
      timeout: START_TIMEOUT_MS,
    });
    return { context: browser.contexts()[0], version: browser.version(), profile, suspend, resume, end };
  } catch (error) {
    await end();
    throw error;
  }
}

module.exports = { launch };
