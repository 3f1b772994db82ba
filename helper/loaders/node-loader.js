'use strict';

/* Loads one Node.js application, takes the first HTTP server that it starts, and serves it to passenger-helper, as PROTOCOL.md beside this file
 * says. Runs under Node.js 12.17 and newer, and needs nothing but what is built in. */

const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');
const Module = require('module');
const EventEmitter = require('events');
const url = require('url');

const LISTENER = 3;
const MAX_HANDSHAKE = 1 << 20;
const DEFAULT_KEEP_ALIVE = 5000;    // milliseconds, Node's own
const SWEEP = 100;                  // milliseconds between looks for connections that have become idle, while we leave
const ANOTHER_COMES = 1000;         // milliseconds that a server which we cannot serve has been alone when that is said
const TERM_COMES_TOO = 50;          // milliseconds: at a stop the end of the pipe and SIGTERM come together
const DEFAULT_PORT = '3000';        // what applications are told; nobody listens there

const netListen = net.Server.prototype.listen;
const exit = process.exit;

const state = {
    settings: {}, startup: '', autoInstall: true,
    server: null,       // the one that was taken
    port: 0,            // that it asked for
    ready: false, failed: false, leaving: false, forked: false,
};

function say(text) {
    write(2, 'node-loader: ' + text + '\n');
}

// The pipe may be full, and not wait.
function write(fd, text) {
    let rest = Buffer.from(text);
    while (rest.length > 0) {
        try {
            rest = rest.subarray(fs.writeSync(fd, rest));
        } catch (error) {
            if (error.code !== 'EAGAIN')
                return;
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
        }
    }
}

// -- the start conversation

function readHandshake() {
    const block = Buffer.alloc(65536);
    let text = '';
    write(1, '!> I have control 1.0\n');
    while (!text.endsWith('\n\n')) {
        const n = fs.readSync(0, block, 0, block.length, null);
        if (n === 0 || text.length > MAX_HANDSHAKE) {
            say('no handshake on standard input: only passenger-helper can start this program');
            exit(1);
        }
        text += block.toString('utf8', 0, n);
    }
    return text;
}

function parseHandshake(text) {
    const lines = text.split('\n');
    const settings = {};
    if (lines[0] !== 'You have control 1.0')
        refuse('The handshake began with ' + JSON.stringify(lines[0]) + ', not with "You have control 1.0": helper and loader are of different versions.');
    for (const line of lines.slice(1)) {
        const colon = line.indexOf(': ');
        if (colon > 0)
            settings[line.slice(0, colon)] = line.slice(colon + 2);
    }
    return settings;
}

function announce() {
    state.ready = true;
    write(1, '\n!> Ready\n!> socket: main;fd:' + LISTENER + ';http;0\n!> \n');
}

// Says why the application cannot be served. Whatever is printed from now on are details.
function report(sentence) {
    state.failed = true;
    write(1, '\n!> Error\n\n' + sentence + '\n\n');
}

function refuse(sentence) {
    report(sentence);
    exit(1);
}

// The end of this pipe is the sign to leave. The application gets an empty input instead, and no descriptor that leads to it.
function takeControl() {
    const control = fs.openSync('/proc/self/fd/0', 'r');
    fs.closeSync(0);
    fs.openSync('/dev/null', 'r');
    const pipe = new net.Socket({ fd: control, readable: true, writable: false });
    pipe.on('data', function () {});
    pipe.on('error', function () {});
    pipe.on('close', function () { leave(false); });
    pipe.unref();
}

// -- servers

function isNamed(wanted) {
    return wanted === 'passenger' || wanted === '/passenger';
}

// What listen() was asked for.
function parseListen(args) {
    const first = args[0];
    const asked = { callback: typeof args[args.length - 1] === 'function' ? args[args.length - 1] : null, port: undefined, host: undefined, path: undefined };
    if (first !== null && typeof first === 'object') {
        asked.port = first.port;
        asked.host = first.host;
        asked.path = first.path;
        asked.signal = first.signal;
    } else if (typeof first === 'number' || (typeof first === 'string' && /^\d+$/.test(first))) {
        asked.port = first;
        asked.host = typeof args[1] === 'string' ? args[1] : undefined;
    } else if (typeof first === 'string') {
        asked.path = first;
    }
    asked.port = Number(asked.port) || 0;
    return asked;
}

// Programs print this, and take it apart.
function giveAddress(server, asked) {
    const host = typeof asked.host === 'string' && net.isIP(asked.host) ? asked.host : '127.0.0.1';
    const port = asked.port || Number(process.env.PORT) || Number(DEFAULT_PORT);
    server.address = function () {
        return server.listening ? { address: host, family: net.isIPv6(host) ? 'IPv6' : 'IPv4', port: port } : null;
    };
}

// A unix socket has no addresses; programs expect one, and a loopback proxy is what they have in fact.
function nameConnection(socket) {
    for (const [name, value] of [['remoteAddress', '127.0.0.1'], ['remoteFamily', 'IPv4'], ['remotePort', 0]])
        Object.defineProperty(socket, name, { value: value, configurable: true, enumerable: true, writable: true });
    // Node.js throws where there is no TCP.
    if (socket.resetAndDestroy)
        socket.resetAndDestroy = socket.destroy;
}

// What closeIdleConnections() does since Node.js 18.2.
function trackConnections(server) {
    const requests = new Map();
    server.on('connection', function (socket) {
        requests.set(socket, 0);
        socket.once('close', function () { requests.delete(socket); });
    });
    server.prependListener('request', function (request, response) {
        const socket = request.socket;
        requests.set(socket, requests.get(socket) + 1);
        response.once('close', function () {
            if (requests.has(socket))
                requests.set(socket, requests.get(socket) - 1);
        });
    });
    server.closeIdleConnections = function () {
        requests.forEach(function (count, socket) {
            if (count === 0)
                socket.destroy();
        });
    };
}

function take(server, asked) {
    state.server = server;
    state.port = asked.port;
    giveAddress(server, asked);
    if (asked.callback)
        server.once('listening', asked.callback);
    server.once('listening', announce);
    server.prependListener('connection', nameConnection);
    if (!server.closeIdleConnections)
        trackConnections(server);
    // Idle connections are the helper's to close: otherwise one could end just when it is used.
    if (server.keepAliveTimeout === DEFAULT_KEEP_ALIVE)
        server.keepAliveTimeout = 0;
    const options = { fd: LISTENER };
    if (asked.signal)
        options.signal = asked.signal;
    return netListen.call(server, options);
}

// Frameworks listen once more on the same port for other addresses of "localhost". That server listens where nobody finds it: an
// application must not be reached around Apache.
function listenNowhere(server, asked) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'node-loader-'));
    const name = path.join(folder, 's');
    giveAddress(server, asked);
    server.once('listening', function () {
        fs.unlinkSync(name);
        fs.rmdirSync(folder);
    });
    if (asked.callback)
        server.once('listening', asked.callback);
    return netListen.call(server, { path: name });
}

function listen() {
    const asked = parseListen(arguments);
    if (!state.server && (state.autoInstall || isNamed(asked.path)))
        return take(this, asked);
    if (isNamed(asked.path))
        throw new Error('another server listens for Passenger already; this one needs a port of its own');
    if (state.server && this !== state.server && asked.port > 0 && asked.port === state.port)
        return listenNowhere(this, asked);
    return netListen.apply(this, arguments);
}

// Servers of other kinds really listen. If that is all there is, nothing would ever come of it, and nobody could guess why.
function listenOtherwise() {
    const kind = typeof this.setSecureContext === 'function' ? 'TLS (https, or http2 with a key)'
        : this.constructor.name === 'Http2Server' ? 'HTTP/2' : null;
    if (kind && !state.server)
        setTimeout(function () {
            if (!state.server)
                say(state.startup + ' listens with a server for ' + kind + ', which is Apache\'s part here: let it listen with http.createServer()');
        }, ANOTHER_COMES).unref();
    return netListen.apply(this, arguments);
}

function install() {
    const passenger = new EventEmitter();
    passenger.options = state.settings;
    passenger.configure = function (options) {
        if (options && options.autoInstall !== undefined)
            state.autoInstall = Boolean(options.autoInstall);
    };
    global.PhusionPassenger = passenger;
    http.Server.prototype.listen = listen;
    net.Server.prototype.listen = listenOtherwise;
    if (process.env.PORT === undefined)
        process.env.PORT = DEFAULT_PORT;
    return passenger;
}

// Several processes are the helper's business, and so is the socket that they share: to an application that starts its own it looks as if it
// were one of them already.
function replaceCluster() {
    const load = Module._load;
    const cluster = Object.assign(new EventEmitter(), {
        isMaster: false, isPrimary: false, isWorker: true, settings: {}, workers: {}, SCHED_NONE: 1, SCHED_RR: 2, schedulingPolicy: 2,
        worker: Object.assign(new EventEmitter(), { id: 1, process: process, isConnected: () => true, isDead: () => false }),
        setupMaster: function () {}, setupPrimary: function () {}, disconnect: function () {},
        fork: function () {
            state.forked = true;
            say('cluster.fork() does nothing here: PassengerMaxInstances says how many processes there are');
            return this.worker;
        },
    });
    // An ES module gets the real one, in which Node.js itself looks up who it is.
    require('cluster').fork = cluster.fork.bind(cluster);
    Module.syncBuiltinESMExports();
    Module._load = function (request) {
        return request === 'cluster' || request === 'node:cluster' ? cluster : load.apply(this, arguments);
    };
}

// -- the end

// Finishes the requests that are there, and exits.
function finish() {
    const server = state.server;
    function sweep() {
        server.closeIdleConnections();
    }
    if (!server || !server.listening)
        exit(0);
    server.close(function () { exit(0); });
    sweep();
    setInterval(sweep, SWEEP);
}

// Applications have several ways to be told; the first that this one knows is taken, and then the exit is its own.
function tellApplication(signalled) {
    if (global.PhusionPassenger === passenger && passenger.listenerCount('exit') > 0)
        passenger.emit('exit');
    else if (process.listenerCount('message') > 0)
        process.emit('message', 'shutdown');
    else if (process.listenerCount('SIGTERM') <= 1)
        finish();
    else if (!signalled)
        process.emit('SIGTERM', 'SIGTERM', os.constants.signals.SIGTERM);
}

function onTerm() {
    if (state.signalled)
        exit(0);
    state.signalled = true;
    leave(true);
}

function leave(signalled) {
    if (state.leaving)
        return;
    if (signalled || process.listenerCount('SIGTERM') <= 1) {
        state.leaving = true;
        tellApplication(signalled);
    } else {
        setTimeout(function () {
            if (state.leaving)
                return;
            state.leaving = state.signalled = true;
            process.removeListener('SIGTERM', onTerm);
            process.on('SIGTERM', function () {});
            tellApplication(false);
        }, TERM_COMES_TOO);
    }
}

// -- what went wrong

// File and line of the application that an error is about, as far as its stack tells.
function place(error) {
    const root = state.settings.app_root + '/';
    const stack = typeof error.stack === 'string' ? error.stack : '';
    const top = /^(?:file:\/\/)?(\/.*?):(\d+)\n/.exec(stack);
    let best = null;
    if (top)
        return [top[1], top[2]];
    for (const line of stack.split('\n')) {
        const frame = /^ +at (?:.*\()?(?:file:\/\/)?(\/.*?):(\d+)(?::\d+)?\)?$/.exec(line);
        if (!frame || frame[1] === __filename)
            continue;
        if (frame[1].startsWith(root) && !frame[1].includes('/node_modules/'))
            return [frame[1], frame[2]];
        best = best || [frame[1], frame[2]];
    }
    return best || [state.startup, null];
}

function explain(error) {
    if (!(error instanceof Error))
        return state.startup + ': it threw ' + require('util').inspect(error) + ': correct that.';
    const at = place(error);
    const where = at[1] === null ? at[0] : at[0] + ', line ' + at[1];
    const [first, second] = String(error.message).split('\n');
    const what = error.name + ': ' + (first.endsWith(':') && second ? first + ' ' + second.trim() : first);     // compilers say it in the second line
    const missing = error.code === 'MODULE_NOT_FOUND' || error.code === 'ERR_MODULE_NOT_FOUND';
    if (missing && /^Cannot find module '[./]/.test(first) && !first.includes('/node_modules/'))
        return where + ': ' + what + ': correct that name, or deploy the file; should it be made by a build, run that first.';
    if (missing)
        return where + ': ' + what + ': install what is missing (npm install in ' + state.settings.app_root + ').';
    if (error instanceof SyntaxError)
        return where + ': ' + what + ': correct that line, or choose another interpreter than Node.js ' + process.version + ' (' + process.execPath
            + ') with PassengerNodejs.';
    return where + ': ' + what + ': correct that; the stack follows.';
}

function onFatal(error) {
    if (state.ready || state.failed || process.listenerCount('uncaughtException') > 0
        || (process.hasUncaughtExceptionCaptureCallback && process.hasUncaughtExceptionCaptureCallback()))
        return;
    report(explain(error));
}

function onExit(code) {
    if (state.ready || state.failed || state.leaving)
        return;
    if (state.forked)
        report(state.startup + ': it left the requests to processes of cluster.fork(), which starts none here: let it listen itself, as if it '
            + 'were a worker.');
    else
        report(state.startup + ': it ended with code ' + code + ' before a server of it listened: it must call listen() on an http.Server.');
}

// -- all of it

function checkStartup() {
    try {
        fs.accessSync(state.startup, fs.constants.R_OK);
    } catch (error) {
        if (error.code === 'ENOENT')
            refuse(state.startup + ': there is no such startup file: create it, or name another one with PassengerStartupFile.');
        refuse(state.startup + ': ' + error.message + ': let user ' + process.env.USER + ' (uid ' + process.geteuid() + ') read the startup file.');
    }
}

function checkVersion() {
    const version = process.versions.node.split('.').map(Number);
    if (version[0] < 12 || (version[0] === 12 && version[1] < 17))
        refuse('Node.js 12.17 or newer is needed; ' + process.execPath + ' is ' + process.version + ': set PassengerNodejs to a newer one.');
}

state.settings = parseHandshake(readHandshake());
checkVersion();
state.startup = path.resolve(state.settings.app_root || '.', state.settings.startup_file || 'app.js');
takeControl();
checkStartup();
const passenger = install();
replaceCluster();
process.on('SIGTERM', onTerm);
process.on('uncaughtExceptionMonitor', onFatal);
process.on('exit', onExit);
process.title = (state.settings.process_title || 'Passenger NodeApp') + ': ' + (state.settings.app_root || process.cwd());
process.argv.splice(1, process.argv.length - 1, state.startup);
delete require.cache[__filename];
// As if Node.js had been started with this file: whatever kind of module it is, and require.main is it.
Module.runMain(state.startup);
