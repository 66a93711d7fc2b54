import assert from 'node:assert/strict';
import { it } from 'node:test';
import { countTests } from '../../scripts/lib/stages.mjs';
import { call } from '../../scripts/lib/tools.mjs';

it('adds up what each runner counts', () => {
  const cargo = `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s`;
  assert.deepEqual(countTests(cargo, false), { passed: 15, failed: 2 });
  assert.deepEqual(countTests('ℹ tests 7\nℹ pass 7\nℹ fail 0\n', true), { passed: 7, failed: 0 });
  assert.deepEqual(countTests('# pass 4\n# fail 1\n', false), { passed: 4, failed: 1 });
  const vitest = ' Test Files  1 failed | 3 passed (4)\n      Tests  1 failed | 20 passed (21)\n';
  assert.deepEqual(countTests(vitest, false), { passed: 20, failed: 1 });
});

it('counts a check without tests as one, and a failure that nobody counted too', () => {
  assert.deepEqual(countTests('All matched files use Prettier code style!', true), { passed: 1, failed: 0 });
  assert.deepEqual(countTests('error: could not compile', false), { passed: 0, failed: 1 });
  assert.deepEqual(countTests('ℹ pass 7\nℹ fail 0\n', false), { passed: 7, failed: 1 });
  assert.deepEqual(countTests('ℹ pass 0\nℹ fail 0\n', true), { passed: 0, failed: 1 }, 'nothing ran');
});

it('ends what hangs, with all that it started, and shows what it had said', async () => {
  const inner = 'setInterval(() => {}, 1000)';
  const outer = `
    const { spawn } = require('node:child_process');
    const child = spawn(process.execPath, ['-e', ${JSON.stringify(inner)}], { stdio: 'inherit' });
    console.log('started ' + child.pid);
    setInterval(() => {}, 1000);`;
  const failed = await call(process.execPath, ['-e', outer], { minutes: 1 / 60 }).catch((error) => error);
  assert.match(failed.message, /had not finished after/);
  const started = Number(/started (\d+)/.exec(failed.advice)?.[1]);
  const gone = () => {
    try {
      return !process.kill(started, 0);
    } catch {
      return true;
    }
  };
  // Whoever inherits it may take a moment to bury it.
  for (let looks = 0; looks < 100 && !gone(); looks += 1) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(gone(), 'its child is gone');
});
