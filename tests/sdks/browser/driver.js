// Drives @featbit/js-client-sdk in a real Chromium by the commands of ../README.md.
'use strict';

const { serve, versionOf, waits } = require('../shared/line_protocol.js');
const chromium = require('./chromium.js');
const site = require('./site.js');
const { Tab } = require('./tab.js');

const MAIN = 'main';

const whenUp = Promise.all([chromium.launch(), site.open()]);
// Whoever gives the first command is told.
whenUp.catch(() => {});

const tabs = new Map();

/** The tab of a command: the one it names, else the main one. */
function tabOf({ tab: name = MAIN }) {
  const tab = tabs.get(name);
  if (!tab) {
    throw new Error(`tab ${name} has not been started`);
  }
  if (tab.fault) {
    throw new Error(`tab ${name}: ${tab.fault}`);
  }
  return tab;
}

async function start(command) {
  const [{ context }, { origin, otherOrigin }] = await whenUp;
  const { tab: name = MAIN, other = false } = command;
  if (!tabs.has(name)) {
    tabs.set(name, await Tab.open(context));
  }
  await tabs.get(name).start(other ? otherOrigin : origin, command);
}

/** The tab that the browser came up with stands before those that are hidden. */
async function cover() {
  const [{ context }] = await whenUp;
  return context.pages()[0];
}

const inApp = (method) => async (command) => tabOf(command).app(method, command);

const everySdk = {
  ...waits(inApp('variation'), async (command) => tabOf(command).state()),
  start,
  all: inApp('all'),
  identify: inApp('identify'),
  track: inApp('track'),
  flush: inApp('flush'),
  updates: inApp('updates'),
  stop: inApp('stop'),
};

const browserOnly = {
  async browser() {
    const [{ profile, version }, { origin, otherOrigin }] = await whenUp;
    return { profile, version, origin, otherOrigin };
  },
  async suspend() {
    (await whenUp)[0].suspend();
  },
  async resume() {
    (await whenUp)[0].resume();
  },
  reload: async (command) => tabOf(command).reload(),
  hide: async (command) => tabOf(command).hide(await cover()),
  freeze: async (command) => tabOf(command).freeze(await cover()),
  show: async (command) => tabOf(command).show(),
  leave: async (command) => tabOf(command).leave((await whenUp)[1].otherOrigin),
  back: async (command) => tabOf(command).back(),
  life: async (command) => ({ life: await tabOf(command).life() }),
  offline: async (command) => tabOf(command).setOffline(true),
  online: async (command) => tabOf(command).setOffline(false),
  fetch: async (command) => tabOf(command).page.evaluate((wanted) => window.ask(wanted), command),
  network: async (command) => tabOf(command).network.seen(),
  console: async (command) => ({ lines: tabOf(command).console }),
};

serve('browser', versionOf('@featbit/js-client-sdk'), { ...everySdk, ...browserOnly }, async () => {
  const [browser] = await whenUp;
  await browser.end();
});
