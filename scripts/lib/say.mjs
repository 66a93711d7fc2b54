// What the scripts print: one line a step, rewritten in place on a terminal, plain lines elsewhere.

const terminal = process.stdout.isTTY === true && process.env.CI === undefined;
const coloured = process.env.NO_COLOR === undefined && (terminal || process.env.FORCE_COLOR !== undefined);

/** @param {string} code @returns {(text: string) => string} */
const paint = (code) => (text) => (coloured ? `\x1b[${code}m${text}\x1b[0m` : text);

export const bold = paint('1');
export const dim = paint('2');
const red = paint('31');
const green = paint('32');
const cyan = paint('36');
const yellow = paint('33');

/** A failure that a person can act on: what was found, and what to do about it. */
export class Stop extends Error {
  /** @param {string} message @param {string} [advice] */
  constructor(message, advice) {
    super(message);
    this.name = 'Stop';
    this.advice = advice;
  }
}

/** @param {string} line */
function rewrite(line) {
  const width = process.stdout.columns ?? 100;
  // Colour codes take no columns; cutting by their length too only shortens a long line.
  process.stdout.write(`\r\x1b[2K${line.length > width + 8 ? `${line.slice(0, width - 1)}…` : line}`);
}

/** @typedef {{ progress(text: string): void, done(text?: string): void, skip(text: string): void,
 *   fail(text: string): void }} Step */

/**
 * Opens a step's line. `progress` rewrites it (terminal only); `done`, `skip` and `fail` close it.
 * @param {string} title
 * @returns {Step}
 */
export function step(title) {
  const began = Date.now();
  if (terminal) rewrite(`${cyan('▸')} ${title}`);
  else process.stdout.write(`▸ ${title}\n`);
  const close = (/** @type {string} */ mark, /** @type {string} */ text) => {
    const line = `${mark} ${title}${text === '' ? '' : dim(` · ${text}`)}`;
    if (terminal) {
      rewrite(line);
      process.stdout.write('\n');
    } else process.stdout.write(`${line}\n`);
  };
  return {
    progress(text) {
      if (terminal) rewrite(`${cyan('▸')} ${title}${dim(` · ${text}`)}`);
    },
    done(text) {
      const took = `${((Date.now() - began) / 1000).toFixed(1)} s`;
      close(green('✓'), text === undefined ? took : `${text}, ${took}`);
    },
    skip(text) {
      close(dim('✓'), text);
    },
    fail(text) {
      close(red('✗'), text);
    },
  };
}

/** @param {string} text */
export function note(text) {
  if (terminal) rewrite('');
  process.stdout.write(`${yellow('•')} ${text}\n`);
}

/** @param {number} bytes */
export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/**
 * Runs a script's main function; a `Stop` is printed as a message with its advice, anything else with its stack.
 * @param {() => Promise<void>} main
 */
export async function run(main) {
  try {
    await main();
  } catch (error) {
    if (terminal) process.stdout.write('\n');
    if (error instanceof Stop) {
      process.stderr.write(`${red('✗')} ${bold(error.message)}\n`);
      if (error.advice !== undefined) process.stderr.write(`  ${error.advice.replaceAll('\n', '\n  ')}\n`);
    } else process.stderr.write(`${red('✗')} ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exitCode = 1;
  }
}
