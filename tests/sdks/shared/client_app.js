// An application with one client of @featbit/js-client-sdk: what the commands of ../README.md do to it. Runs in Node
// and, as a plain script, in a page; both bring the SDK's exports and a LogWatcher.
'use strict';

class ClientApp {
  constructor({ FbClientBuilder, DataSyncModeEnum }, LogWatcher) {
    this.FbClientBuilder = FbClientBuilder;
    this.modes = { polling: DataSyncModeEnum.POLLING, streaming: DataSyncModeEnum.STREAMING };
    this.LogWatcher = LogWatcher;
    this.client = null;
    this.forget();
  }

  /** What a stopped client still says must not count for its successor: all of this is renewed at each start. */
  forget() {
    this.logs = new this.LogWatcher();
    this.changed = [];
    // A polling client never comes back from its first failed poll; it says so by its event `failed`.
    this.failed = false;
  }

  start({ mode, url, eventsUrl, secret, user, startWaitMs = 5000, pollMs = 100, events = false }) {
    this.forget();
    this.current = user;
    const { logs, changed } = this;
    const client = new this.FbClientBuilder()
      .sdkKey(secret)
      .streamingUri(url.replace(/^http/, 'ws'))
      .pollingUri(url)
      .eventsUri(eventsUrl ?? url)
      .dataSyncMode(this.modes[mode])
      .pollingInterval(pollMs)
      .startWaitTime(startWaitMs)
      .flushInterval(200)
      .disableEvents(!events)
      .user(user)
      .logger(logs)
      .build();
    client.on('update', (keys) => changed.push(...keys.flat()));
    client.on('failed', () => {
      this.failed ||= this.client === client;
    });
    client.on('error', () => {});
    this.client = client;
  }

  /** The SDK builds its parts asynchronously (it hashes the user); until then every evaluation throws. */
  evaluates() {
    try {
      this.client.stringVariation('', '');
      return true;
    } catch {
      return false;
    }
  }

  /** A command about a user other than the current one is a fault of the scenario, not of the SDK. */
  mustBeCurrent(user) {
    if (user && user.keyId !== this.current.keyId) {
      throw new Error(`the current user is ${this.current.keyId}, not ${user.keyId}: identify first`);
    }
  }

  variation({ key, user, type, default: fallback }) {
    this.mustBeCurrent(user);
    const method = { boolean: 'bool', string: 'string', number: 'number', json: 'json' }[type];
    const { value, reason } = this.client[`${method}VariationDetail`](key, fallback);
    return { value, reason };
  }

  state() {
    const { logs, client, failed } = this;
    return {
      ready: client !== null && client.initialized(),
      connected: logs.connected,
      stopped: logs.stopped || failed,
      connects: logs.connects,
      errors: logs.errors,
    };
  }

  async all({ user, record = false }) {
    this.mustBeCurrent(user);
    const values = {};
    for (const { flagKey, kind, reason, value } of await this.client.getAllVariations()) {
      values[flagKey] = { value, reason, kind };
      if (record) {
        this.client.stringVariation(flagKey, '');
      }
    }
    return { values };
  }

  async identify({ user }) {
    this.current = user;
    await this.client.identify(user);
  }

  async track({ user, event, value }) {
    this.mustBeCurrent(user);
    this.client.track(event, value);
  }

  async flush() {
    return { flushed: await this.client.flush() };
  }

  async updates() {
    return { keys: this.changed };
  }

  async stop() {
    await this.client.close();
    this.client = null;
  }
}

if (typeof module === 'object') {
  module.exports = { ClientApp };
}
