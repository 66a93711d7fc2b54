// Running other programs, and installing Debian packages where that is allowed.

import { spawn, spawnSync } from 'node:child_process';
import { root } from './paths.mjs';
import { note, Stop, step } from './say.mjs';

/** @typedef {import('./say.mjs').Step} Step */

const windows = process.platform === 'win32';

/** @param {string} program @param {string[]} [args] */
export function answers(program, args = ['--version']) {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/**
 * Ends a program, and all that it started, after so many minutes. It must lead a process group of its own.
 * @param {import('node:child_process').ChildProcess} child
 * @param {number} minutes
 */
function endAfter(child, minutes) {
  const found = { late: false };
  const end = (/** @type {NodeJS.Signals} */ signal) => {
    try {
      if (child.pid !== undefined) process.kill(windows ? child.pid : -child.pid, signal);
    } catch {
      // It ended by itself meanwhile.
    }
  };
  // A group of its own hears no Ctrl-C.
  const interrupted = () => {
    end('SIGKILL');
    process.exit(130);
  };
  process.once('SIGINT', interrupted);
  const timer = setTimeout(() => {
    found.late = true;
    end('SIGTERM');
    // Whoever has not said within seconds what it was at will not say it.
    setTimeout(() => end('SIGKILL'), 20_000).unref();
  }, minutes * 60_000);
  child.once('close', () => {
    clearTimeout(timer);
    process.off('SIGINT', interrupted);
  });
  return found;
}

/**
 * Runs a program under a step's line. Its last line of output is shown while it runs; all of it only when it fails.
 * @param {string} program
 * @param {string[]} args
 * @param {{ step?: Step, cwd?: string, env?: NodeJS.ProcessEnv, advice?: string, missing?: string, keepAll?: boolean,
 *   minutes?: number }} [options] `missing` is the advice when the program does not exist; `keepAll` shows the whole output on a
 *   failure, not its end; after `minutes` the program is ended, which is a failure
 * @returns {Promise<string>} what it printed
 */
export function call(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: options.minutes !== undefined && !windows,
    });
    const ended = options.minutes === undefined ? undefined : endAfter(child, options.minutes);
    let printed = '';
    const hear = (/** @type {Buffer} */ chunk) => {
      printed += chunk;
      const last =
        printed
          .trimEnd()
          .split(/[\r\n]/)
          .at(-1) ?? '';
      options.step?.progress(last.trim());
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('error', (error) => {
      const gone = /** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT';
      reject(gone ? new Stop(`${program} was not found`, options.missing) : error);
    });
    child.on('close', (status, signal) => {
      if (status === 0 && ended?.late !== true) resolve(printed);
      else {
        const how =
          ended?.late === true
            ? `had not finished after ${options.minutes} minutes`
            : signal === null
              ? `exited with ${status}`
              : `was ended by ${signal}`;
        const tail = printed
          .trimEnd()
          .split('\n')
          .slice(options.keepAll ? 0 : -60)
          .join('\n');
        const advice = [tail, options.advice].filter((text) => text !== undefined && text !== '').join('\n\n');
        reject(new Stop(`${[program, ...args].join(' ')} ${how}`, advice));
      }
    });
  });
}

/** How to become root without a question, or null: `[]` when already root, `['sudo', '-n']` when sudo asks nothing. */
function becomeRoot() {
  if (process.getuid?.() === 0) return [];
  return answers('sudo', ['-n', 'true']) ? ['sudo', '-n'] : null;
}

let listsAreFresh = false;

/**
 * Installs Debian packages that are missing; elsewhere, or without the right to, says what to install.
 * @param {string[]} packages
 * @param {string} why
 */
export async function aptInstall(packages, why) {
  const missing = packages.filter((name) => {
    const found = spawnSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', name], { encoding: 'utf8' });
    return found.status !== 0 || found.stdout !== 'installed';
  });
  if (missing.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  const prefix = becomeRoot();
  if (prefix === null || !answers('apt-get')) {
    throw new Stop(`${why} needs ${missing.join(', ')}`, `Install it and run this again. On Debian: sudo ${command}`);
  }
  const line = step(`installing ${missing.join(', ')}`);
  const apt = async (/** @type {string[]} */ args) => {
    const [program, ...rest] = [...prefix, 'apt-get', ...args];
    await call(/** @type {string} */ (program), rest, {
      step: line,
      env: { DEBIAN_FRONTEND: 'noninteractive' },
      advice: `${why} needs it. By hand: sudo apt-get update && sudo ${command}`,
    });
  };
  if (!listsAreFresh) {
    await apt(['update', '-q']);
    listsAreFresh = true;
  }
  await apt(['install', '-y', '-q', '--no-install-recommends', ...missing]);
  line.done();
}

/**
 * Opens an address in the desktop's browser, where there is a desktop.
 * @param {string} address
 */
export function openOnDesktop(address) {
  const [program, args] =
    process.platform === 'darwin'
      ? ['open', [address]]
      : process.platform === 'win32'
        ? ['cmd', ['/c', 'start', '', address]]
        : process.env.DISPLAY !== undefined || process.env.WAYLAND_DISPLAY !== undefined
          ? ['xdg-open', [address]]
          : [null, []];
  if (program === null) return;
  const child = spawn(program, args, { stdio: 'ignore', detached: true });
  child.on('error', () => note(`${program} could not be started: open the address yourself`));
  child.unref();
}
