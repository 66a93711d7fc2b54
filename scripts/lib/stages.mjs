// A run of checks: each is one line, with how many tests it counted; failures are shown in full and do not stop the rest.

import { bold, Stop, step } from './say.mjs';
import { call } from './tools.mjs';

/**
 * @typedef {{ name: string, title: string, program: string, args: string[], env?: NodeJS.ProcessEnv, minutes?: number }} Stage
 * @typedef {{ passed: number, failed: number }} Count
 */

/**
 * Counts the tests in what a runner printed: cargo's and node's closing lines. A program that prints neither is one check.
 * @param {string} printed
 * @param {boolean} succeeded
 * @returns {Count}
 */
export function countTests(printed, succeeded) {
  const sum = (/** @type {RegExp} */ pattern) =>
    [...printed.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
  const cargo = /^test result: .*$/m.test(printed);
  const node = /^[#ℹ] pass \d+$/m.test(printed);
  const vitest = /^\s+Tests\s+.*\d+ (passed|failed)/m.test(printed);
  const count = cargo
    ? { passed: sum(/^test result: .*? (\d+) passed/gm), failed: sum(/^test result: .*? (\d+) failed/gm) }
    : node
      ? { passed: sum(/^[#ℹ] pass (\d+)$/gm), failed: sum(/^[#ℹ] fail (\d+)$/gm) }
      : vitest
        ? { passed: sum(/^\s+Tests\s+.*?(\d+) passed/gm), failed: sum(/^\s+Tests\s+.*?(\d+) failed/gm) }
        : { passed: succeeded ? 1 : 0, failed: 0 };
  // A runner that fails without counting a failure (it did not compile, it crashed) failed all the same, and so did one that
  // found nothing to run.
  const told = count.failed > 0 || (succeeded && count.passed > 0);
  return told ? count : { ...count, failed: 1 };
}

/** What hangs is ended, so that its output is seen and the rest still runs. */
const stageMinutes = 25;

/**
 * @param {Stage[]} stages
 * @returns {Promise<Count>}
 */
export async function runStages(stages) {
  const total = { passed: 0, failed: 0 };
  for (const { title, program, args, env, minutes = stageMinutes } of stages) {
    const line = step(title);
    let printed = '';
    let succeeded = true;
    try {
      printed = await call(program, args, { step: line, env: { ...env, NO_COLOR: '1' }, keepAll: true, minutes });
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
      succeeded = false;
      printed = `${error.message}\n${error.advice ?? ''}`;
    }
    const { passed, failed } = countTests(printed, succeeded);
    total.passed += passed;
    total.failed += failed;
    if (failed === 0) line.done(`${passed} passed`);
    else {
      line.fail(`${passed} passed, ${failed} failed`);
      console.log(`\n${printed.trimEnd()}\n\n${bold(`the above: ${title}`)}\n`);
    }
    // What tests measured; the runner's own totals are not indented.
    for (const [, text] of printed.matchAll(/^\s+[#ℹ] (.+)$/gm)) console.log(`    ${text}`);
  }
  return total;
}
