// Preloaded into the commands server, which runs what it is given for as long as that likes: every command runs under
// bounded.py, which ends it and all that it started. What gets rid of bounded.py ends the container, which starts anew.
'use strict';
const childProcess = require('node:child_process');
const { promisify } = require('node:util');

const seconds = Number(process.env.HEARTH_COMMAND_TIMEOUT || 30);
if (!(seconds > 0 && seconds <= 3600)) {
    throw new Error(`HEARTH_COMMAND_TIMEOUT=${process.env.HEARTH_COMMAND_TIMEOUT}: should be seconds, above 0 and at most 3600`);
}
process.env.HEARTH_COMMAND_TIMEOUT = String(seconds);

const { exec } = childProcess;
function boundedExec(command, options, done) {
    const escaped = setTimeout(() => process.exit(1), (seconds + 10) * 1000);
    return exec(command, { ...options, shell: '/opt/tools/bounded.py' }, (error, stdout, stderr) => {
        clearTimeout(escaped);
        if (error?.signal) process.exit(1);
        done(error, stdout, stderr);
    });
}
boundedExec[promisify.custom] = (command, options) =>
    new Promise((resolve, reject) => {
        boundedExec(command, options, (error, stdout, stderr) =>
            error ? reject(Object.assign(error, { stdout, stderr })) : resolve({ stdout, stderr }),
        );
    });
childProcess.exec = boundedExec;
