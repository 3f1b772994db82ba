'use strict';
// One route for each thing that Node.js promises about a request or a response. What a route has seen after its answer is told by /events.
const http = require('http');
const zlib = require('zlib');

let events = [];

function json(res, facts) {
    const body = Buffer.from(JSON.stringify(facts));
    res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
    res.end(body);
}

function note(name) { return () => events.push(name); }

const routes = {
    echo(req, res) {
        const blocks = [];
        req.on('data', (block) => blocks.push(block));
        req.on('end', () => {
            const body = Buffer.concat(blocks);
            json(res, { method: req.method, url: req.url, headers: req.headers, raw: req.rawHeaders, distinct: req.headersDistinct, version: req.httpVersion,
                length: body.length, hex: body.toString('hex', 0, 64), complete: req.complete, trailers: req.trailers });
        });
    },
    events(req, res) { json(res, events); events = []; },
    // What a framework that counts on these events needs.
    watched(req, res) {
        req.on('end', note('request end')).on('close', note('request close')).on('aborted', note('request aborted')).resume();
        res.on('finish', note('response finish')).on('close', note('response close'));
        res.end('watched\n');
    },
    waits(req, res) {
        events = ['begun'];
        req.on('aborted', note('request aborted'));
        req.on('error', (error) => events.push('request ' + error.code));
        req.on('close', note('request close'));
        res.on('close', () => events.push('response close ' + (res.writableFinished ? 'finished' : 'unfinished')));
        if (req.method === 'GET') res.write('begun\n'); else req.resume();
    },
    continue(req, res) { req.resume().on('end', () => json(res, { continued: req.continued === true })); },
    processing(req, res) { res.writeProcessing(); res.writeContinue(); res.end('done\n'); },
    chunks(req, res) { for (const text of ['one ', '', 'two ', 'three\n']) if (text) res.write(text); res.end(); },
    flush(req, res) { res.writeHead(200, { 'X-First': 'yes' }); res.flushHeaders(); events = ['flushed']; routes.release = () => res.end('later\n'); },
    events_stream(req, res) {
        res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
        res.write('data: first\n\n');
        routes.next = () => { res.write('data: second\n\n'); res.end(); };
    },
    go(req, res) { const go = routes.release || routes.next; routes.release = routes.next = undefined; go(); res.end('gone\n'); },
    cookies(req, res) { res.setHeader('Set-Cookie', ['a=1; Path=/', 'b=2; HttpOnly', 'c=3']); res.appendHeader && res.appendHeader('X-More', 'y'); res.end(); },
    fields(req, res) {
        res.writeHead(200, ['Content-Type', 'text/plain', 'X-Twice', 'one', 'X-Twice', 'two', 'X-Empty', '', 'x-lower', 'l', 'X-Latin', 'caf\u00e9', 'Link', '</a>; rel=x', 'Link', '</b>; rel=y']);
        res.end();
    },
    large_fields(req, res) { for (let i = 0; i < 60; i++) res.setHeader('X-Large-' + i, String(i % 10).repeat(1000)); res.end('large\n'); },
    injected(req, res) { try { res.setHeader('X-Bad', 'a\r\nX-Evil: 1'); } catch (error) { return json(res, { code: error.code }); } res.end(); },
    reason(req, res) { res.writeHead(299, 'Something else'); res.end(); },
    status(req, res, query) { res.writeHead(Number(query.get('s')), query.get('l') ? { 'Content-Length': query.get('l') } : {}); res.end(query.get('b') || undefined); },
    head(req, res) { res.setHeader('Content-Length', 1000); res.write('x'.repeat(1000)); res.end(); },
    gzip(req, res) { const body = zlib.gzipSync('packed\n'); res.writeHead(200, { 'Content-Encoding': 'gzip', 'Content-Length': body.length }); res.end(body); },
    binary(req, res) { res.end(Buffer.from(Array.from({ length: 256 }, (_, i) => i))); },
    trailers(req, res) { res.writeHead(200, { Trailer: 'X-Sum' }); res.write('body\n'); res.addTrailers({ 'X-Sum': '1' }); res.end(); },
    short(req, res) { res.writeHead(200, { 'Content-Length': 100 }); res.write('only this'); setTimeout(() => res.socket.end(), 20); },
    cut(req, res) { res.write('a part'); setTimeout(() => res.destroy(), 20); },
    reset(req) { req.socket.resetAndDestroy ? req.socket.resetAndDestroy() : req.socket.destroy(); },
    unread(req, res) { res.end('not read\n'); },
    pushed(req, res) { req.once('data', () => { req.pause(); setTimeout(() => req.resume(), 50); }); let n = 0; req.on('data', (b) => { n += b.length; }).on('end', () => json(res, { n })); },
    slowly(req, res) { let i = 0; const timer = setInterval(() => { res.write('tick\n'); if (++i === 5) { clearInterval(timer); res.end(); } }, 10); },
    pipe(req, res) { req.pipe(res); },
    cork(req, res) { res.cork(); for (let i = 0; i < 100; i++) res.write('cork\n'); res.uncork(); res.end(); },
    backpressure(req, res) {
        let sent = 0, waited = 0;
        function more() {
            while (sent < 8 << 20) { sent += 65536; if (!res.write(Buffer.alloc(65536, 'z'))) { waited++; res.once('drain', more); return; } }
            res.end('waited ' + (waited > 0));
        }
        more();
    },
    timeout(req, res) { res.setTimeout(50, () => res.end('timed out\n')); },
};

function serve(req, res) {
    const url = new URL(req.url, 'http://x');
    (routes[url.pathname.slice(1)] || routes.echo)(req, res, url.searchParams);
}

const server = http.createServer(serve);
server.on('checkContinue', (req, res) => { req.continued = true; res.writeContinue(); serve(req, res); });
server.on('clientError', (error, socket) => { events.push('client error ' + error.code); socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'); });
server.listen(3000);
