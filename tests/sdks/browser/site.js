// The application's own web server: a page of another origin than the agent, with the SDK's browser build.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const SCRIPT = 'text/javascript; charset=utf-8';
const SCRIPTS = {
  '/sdk.js': path.join(process.env.NODE_PATH, '@featbit/js-client-sdk/dist/umd/featbit-js-client-sdk.js'),
  '/log_watcher.js': path.join(__dirname, '../shared/log_watcher.js'),
  '/client_app.js': path.join(__dirname, '../shared/client_app.js'),
  '/page.js': path.join(__dirname, 'page.js'),
};

const page = (title, scripts) => `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${title}</title><link rel="icon" href="data:,"></head>
<body>
${scripts.map((name) => `<script src="${name}"></script>`).join('\n')}
</body>
</html>
`;

const PAGES = {
  '/': page('An application', Object.keys(SCRIPTS)),
  '/elsewhere': page('Another application', []),
};

/** Serves the page on a free port of the loopback. Under either name it is another origin. */
async function open() {
  const files = new Map();
  for (const [name, body] of Object.entries(PAGES)) {
    files.set(name, { type: 'text/html; charset=utf-8', body });
  }
  for (const [name, file] of Object.entries(SCRIPTS)) {
    files.set(name, { type: SCRIPT, body: fs.readFileSync(file) });
  }
  const server = http.createServer((request, response) => {
    const file = files.get(request.url);
    response.writeHead(file ? 200 : 404, { 'Content-Type': file?.type ?? 'text/plain' });
    response.end(file?.body ?? 'nothing here\n');
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address();
  return { origin: `http://127.0.0.1:${port}`, otherOrigin: `http://localhost:${port}` };
}

module.exports = { open };
