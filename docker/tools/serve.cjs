// Preloaded (node --require) into a tool server of others: it serves on the Unix socket HEARTH_SOCKET instead of a port,
// and is silent once it serves, because these servers log what they are asked and what they answer.
'use strict';
const { rmSync } = require('node:fs');
const { Server } = require('node:net');

const path = process.env.HEARTH_SOCKET;
if (!path) throw new Error('HEARTH_SOCKET should name the socket to serve on');

const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
    Server.prototype.listen = listen; // the first is the one to serve on
    rmSync(path, { force: true }); // left by a process that was killed
    this.address = () => ({ address: '127.0.0.1', family: 'IPv4', port: Number(port) }); // some ask, to print it
    this.once('listening', () => {
        for (const method of ['log', 'info', 'debug', 'warn', 'error', 'trace']) console[method] = () => {};
    });
    return listen.call(this, { path }, rest.findLast((argument) => typeof argument === 'function'));
};

// As the container's first process node has no default way to end.
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
