// One tab of the browser: the page with its SDK, what goes over its wires, what it writes to its console.
'use strict';

const { until } = require('../shared/line_protocol.js');
const { Network } = require('./network.js');

// Generous: the machine may be busy with other browsers.
const STEP_TIMEOUT_MS = 60_000;

class Tab {
  /** A new tab of a browser, with nothing in it. */
  static async open(context) {
    const page = await context.newPage();
    const tab = new Tab(page, await context.newCDPSession(page));
    tab.network = await Network.watch(tab.session);
    return tab;
  }

  constructor(page, session) {
    this.page = page;
    this.session = session;
    this.console = [];
    // The first thing that must not happen in any scenario.
    this.fault = null;
    page.setDefaultTimeout(STEP_TIMEOUT_MS);
    page.on('console', (message) => this.console.push({ type: message.type(), text: message.text() }));
    page.on('pageerror', (error) => {
      this.fault ??= `uncaught in the page: ${error.stack ?? error}`;
    });
    page.on('crash', () => {
      this.fault ??= 'the page has crashed';
    });
  }

  /** Loads the page (anew) and starts the SDK in it, as an application does. */
  async start(origin, options) {
    this.options = options;
    await this.page.goto(`${origin}/`);
    await this.startSdk();
  }

  /** As if the user had pressed F5: nothing is closed in an orderly way. */
  async reload() {
    await this.page.reload();
    await this.startSdk();
  }

  async startSdk() {
    await this.app('start', this.options);
    await until(async () => ({ met: await this.app('evaluates') }), this.options.startWaitMs);
  }

  /** Calls a method of the page's application. */
  app(method, argument) {
    return this.page.evaluate(([method, argument]) => window.app[method](argument), [method, argument]);
  }

  /** What the browser has told the page of its life, in order. */
  life() {
    return this.page.evaluate(() => window.life);
  }

  async waitForLife(condition) {
    const seen = await until(async () => {
      const life = await this.life();
      return { met: condition(life), life };
    }, STEP_TIMEOUT_MS);
    if (!seen.met) {
      throw new Error(`the browser has told the page only: ${seen.life.join(', ')}`);
    }
  }

  /** Puts another tab before it: hidden, its timers throttled. */
  async hide(cover) {
    await cover.bringToFront();
    await this.waitForLife((life) => life.lastIndexOf('hidden') > life.lastIndexOf('visible'));
  }

  /** Puts it to sleep behind another tab: none of its code runs by itself. */
  async freeze(cover) {
    await this.hide(cover);
    await this.session.send('Page.setWebLifecycleState', { state: 'frozen' });
    await this.waitForLife((life) => life.lastIndexOf('freeze') > life.lastIndexOf('resume'));
  }

  /** Before the user again, awake. */
  async show() {
    await this.page.bringToFront();
    await this.waitForLife(
      (life) =>
        life.lastIndexOf('visible') > life.lastIndexOf('hidden') &&
        life.lastIndexOf('resume') >= life.lastIndexOf('freeze'),
    );
  }

  /** Follows a link to another site. */
  async leave(origin) {
    await this.page.goto(`${origin}/elsewhere`);
  }

  /** Comes back by the browser's button, to the very page that was left, with all its state. */
  async back() {
    await this.page.goBack({ waitUntil: 'commit' });
    await this.waitForLife((life) => life.at(-1) === 'restored');
  }

  /** Cuts the tab's network, or restores it. */
  async setOffline(offline) {
    const conditions = { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
    await this.session.send('Network.emulateNetworkConditions', conditions);
  }

  async state() {
    return { ...(await this.app('state')), posts: this.network.posts() };
  }
}

module.exports = { Tab };
