'use strict';
// A Node.js application for tests: what it was asked, and responses of every shape, by path.
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');

let count = 0;
let aborted = 0;

function json(res, facts) {
    const body = Buffer.from(JSON.stringify(facts));
    res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
    res.end(body);
}

// The request as it arrived, its body's length and digest, the process.
function echo(req, res) {
    const digest = crypto.createHash('sha1');
    let length = 0, pieces = 0;
    req.on('data', (block) => { digest.update(block); length += block.length; pieces++; });
    req.on('aborted', () => { aborted++; });
    req.on('end', () => json(res, {
        method: req.method, url: req.url, headers: req.headers, raw: req.rawHeaders, version: req.httpVersion, trailers: req.trailers,
        remote: req.socket.remoteAddress, length, pieces, sha1: digest.digest('hex'), count, aborted,
        pid: process.pid, uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), cwd: process.cwd(),
    }));
}

const paths = {
    '/process'(req, res) {
        const fds = {};
        for (const fd of fs.readdirSync('/proc/self/fd')) {
            try { fds[fd] = fs.readlinkSync('/proc/self/fd/' + fd); } catch (error) { /* the one that reads the folder */ }
        }
        json(res, { env: process.env, argv: process.argv, title: process.title, fds, main: require.main === module, filename: __filename, cached: Object.keys(require.cache) });
    },
    '/status'(req, res, query) { res.writeHead(Number(query.get('s'))); res.end('status\n'); },
    '/bare'(req, res, query) { res.writeHead(Number(query.get('s'))); res.end(); },
    '/big'(req, res, query) { res.setHeader('Content-Length', query.get('n')); res.end('x'.repeat(Number(query.get('n')))); },
    '/stream'(req, res, query) {
        const n = Number(query.get('n') || 3), fail = Number(query.get('fail') || -1);
        let i = 0;
        const timer = setInterval(() => {
            if (i === fail) { clearInterval(timer); res.destroy(); return; }
            res.write(String(i % 10).repeat(Number(query.get('size') || 10)));
            if (++i === n) { clearInterval(timer); res.end(); }
        }, Number(query.get('wait') || 1));
    },
    '/slow'(req, res, query) { console.log('slow begins'); setTimeout(() => res.end('slow\n'), 1000 * Number(query.get('s'))); },
    '/late'(req, res, query) { setTimeout(() => echo(req, res), 1000 * Number(query.get('s'))); },
    '/early'(req, res) { res.writeHead(413, { Connection: 'close' }); res.end('too much\n'); },
    '/hints'(req, res) { res.writeEarlyHints && res.writeEarlyHints({ link: '</style.css>; rel=preload' }); res.end('hinted\n'); },
    '/fields'(req, res) {
        res.setHeader('Set-Cookie', ['a=1', 'b=2']);
        res.setHeader('X-Case-Kept', 'yes');
        res.statusMessage = 'Fine by me';
        res.end('fields\n');
    },
    '/trailers'(req, res) { res.writeHead(200, { Trailer: 'X-Sum' }); res.write('body\n'); res.addTrailers({ 'X-Sum': '1' }); res.end(); },
    '/close'(req, res) { res.setHeader('Connection', 'close'); json(res, { pid: process.pid, links: server._connections }); },
    '/links'(req, res) { server.getConnections((error, links) => json(res, { links })); },
    '/throw'() { throw new Error('thrown as it was told'); },
    '/reject'() { Promise.reject(new Error('rejected as it was told')); },
    '/exit'(req, res, query) { process.exit(Number(query.get('code'))); },
    '/hang'() {},
    '/busy'(req, res, query) { const end = Date.now() + 1000 * Number(query.get('s')); while (Date.now() < end) ; res.end('busy\n'); },
    '/garbage'(req) { req.socket.end('this is no HTTP\r\n\r\n'); },
    '/raw'(req, res, query) { req.socket.end(query.get('bytes')); },
};

const server = http.createServer((req, res) => {
    const url = new URL(req.url, 'http://x');
    count++;
    (paths[url.pathname] || echo)(req, res, url.searchParams);
});

server.listen(process.env.PORT || 80, () => console.log('listens on', server.address().port));
