// Preloaded into the files server: it refuses what is reached over a link that leads out of the workspace. The server
// means to, but takes a link for a new file when its target is refused. (The container holds nothing else of the user's.)
// It also refuses what is no file and no folder: who opens a named pipe waits for its other end, and four that wait are
// all that node has for files.
'use strict';
const fs = require('node:fs').promises;
const { S_IFDIR, S_IFMT, S_IFREG } = require('node:fs').constants;
const { dirname, resolve, sep } = require('node:path');

const { lstat, realpath } = fs;
const root = process.cwd();

async function inside(path) {
    let real;
    try {
        real = await realpath(path);
    } catch (error) {
        const there = await lstat(path).then(() => true, () => false);
        if (error.code === 'ENOENT' && !there && dirname(path) !== path) return inside(dirname(path)); // still to be made
        throw error;
    }
    if (real !== root && !real.startsWith(root + sep)) throw new Error('Access denied - a link leads out of the workspace');
    const { mode } = await lstat(real);
    if (![S_IFREG, S_IFDIR].includes(mode & S_IFMT)) throw new Error('Access denied - neither a file nor a folder');
}

for (const [method, paths] of Object.entries({ readFile: 1, writeFile: 1, readdir: 1, mkdir: 1, stat: 1, rename: 2 })) {
    const original = fs[method];
    fs[method] = async (...given) => {
        for (const path of given.slice(0, paths)) await inside(resolve(path));
        return original.apply(fs, given);
    };
}
