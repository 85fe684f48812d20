// What can be seen of a connection from the SDK's own log lines, which is all that the JavaScript SDKs show of it:
// all print the same texts. Runs in Node and, as a plain script, in a page.
'use strict';

const LINES_KEPT = 20;

/** A logger for the SDK. `stopped` means: closed, and no intention to come back was announced. */
class LogWatcher {
  constructor() {
    this.connects = 0;
    this.closes = 0;
    this.retries = 0;
    this.connected = false;
    this.errors = [];
    for (const level of ['debug', 'info', 'warn', 'error']) {
      this[level] = (...words) => this.line(level, words.map(String).join(' '));
    }
  }

  line(level, text) {
    if (text.includes('WebSocket connection succeeded')) {
      this.connects += 1;
      this.connected = true;
    } else if (text.includes('WebSocket closed')) {
      this.closes += 1;
      this.connected = false;
    } else if (text.includes('will try to reconnect in')) {
      this.retries += 1;
    }
    if (level === 'warn' || level === 'error') {
      this.errors.push(text);
      this.errors.splice(0, this.errors.length - LINES_KEPT);
    }
  }

  get stopped() {
    return this.closes > this.retries;
  }
}

if (typeof module === 'object') {
  module.exports = { LogWatcher };
}
