// Preloaded into the browser's server: the browser is sent to web pages and nowhere else. The server refuses file: by
// itself, but not what wraps it (view-source:file:///etc/passwd). Looked at here is what it tells the browser in the end,
// over the pipe that Chromium takes its commands from; where a page's own links lead is Chromium's business, and it lets
// none of them to such addresses.
'use strict';
const childProcess = require('node:child_process');

const PIPE = 3;
const WEB = ['http:', 'https:', 'about:'];

function check(message) {
    if (!message.includes('"url"')) return;
    const { method, params } = JSON.parse(message);
    if (!['Page.navigate', 'Target.createTarget'].includes(method)) return;
    const { protocol } = new URL(params.url);
    if (!WEB.includes(protocol)) throw new Error(`Access to "${protocol}" addresses is blocked, the browser opens http: and https:`);
}

const { spawn } = childProcess;
childProcess.spawn = function (...given) {
    const child = spawn.apply(this, given);
    const pipe = child.stdio?.[PIPE];
    if (pipe?.write) {
        const { write } = pipe;
        pipe.write = (data, ...rest) => {
            if (typeof data === 'string') check(data);
            return write.call(pipe, data, ...rest);
        };
    }
    return child;
};
