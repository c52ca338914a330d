// Netlify's own matcher, asked as `netlify dev` asks it (netlify-cli, src/utils/rules-proxy.ts).
//
// Each line of the input is {"rules": TEXT, "requests": [{"target", "language"}]}, each line of the
// output the list of its answers: null or {"status", "force", "to"}. Ends with its input.
'use strict';
const readline = require('node:readline');

// Its regex engine complains of each target with a backslash; errors of node come all the same.
console.error = console.warn = () => {};
const redirector = require(process.argv[2]);

function ask(matcher, { target, language }) {
  // Not relative to a base: `//a` would be a host.
  const url = new URL('http://garden.example' + target);
  const headers = {
    'x-language': language === null ? 'en' : language.split(',')[0].slice(0, 2),
  };
  const match = matcher.match({
    scheme: 'http',
    host: url.hostname,
    path: decodeURIComponent(url.pathname),
    query: url.search.slice(1),
    headers,
    cookieValues: {},
    getHeader: (name) => headers[name.toLowerCase()] || '',
    getCookie: () => '',
  });
  // A rule for somebody who is signed in has no target.
  if (match === null || match.to === undefined) return null;
  return { status: match.status, force: match.force, to: match.to };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { rules, requests } = JSON.parse(line);
    const matcher = await redirector.parsePlain(rules, { jwtSecret: '', jwtRoleClaim: '' });
    const answers = requests.map((request) => ask(matcher, request));
    // What is of C++ is not collected.
    matcher.delete();
    process.stdout.write(JSON.stringify(answers) + '\n');
  }
}

main();
