// Drives @featbit/js-client-sdk by the commands of ../README.md, with what it needs of a browser put under it.
'use strict';

const browser = require('./browser.js');
browser.install();

const { ClientApp } = require('../shared/client_app.js');
const { serve, versionOf, waits, until, LogWatcher } = require('../shared/line_protocol.js');

const app = new ClientApp(require('@featbit/js-client-sdk'), LogWatcher);

function state() {
  return { ...app.state(), posts: browser.seen().posts, closeCodes: browser.seen().closeCodes };
}

serve('js-client', versionOf('@featbit/js-client-sdk'), {
  ...waits(async (command) => app.variation(command), state),

  async start(command) {
    browser.forget();
    app.start(command);
    await until(() => ({ met: app.evaluates() }), command.startWaitMs);
  },
  all: (command) => app.all(command),
  identify: (command) => app.identify(command),
  track: (command) => app.track(command),
  flush: () => app.flush(),
  updates: () => app.updates(),
  stop: () => app.stop(),
});
