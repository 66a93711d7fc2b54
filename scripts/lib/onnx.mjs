// ONNX files of the cached models, for peers that load no GGUF: made once by tools/onnx with onnxruntime's own quantisers, and cached.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { cacheDir, modelsDir, root } from './paths.mjs';
import { step, Stop } from './say.mjs';
import { call } from './tools.mjs';

/** A folder for each model, by its name. */
export const onnxDir = join(cacheDir, 'onnx');

const tool = join(root, 'tools/onnx');
const python = process.platform === 'win32' ? 'python' : 'python3';
const missing = 'Python 3 makes the ONNX files; it was not found.';

/** The golden file of a model. @param {{ name: string, sha256: string }} model */
function goldenOf({ name, sha256 }) {
  const folder = join(root, 'tests/golden');
  const found = readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => join(folder, file))
    .find((file) => JSON.parse(readFileSync(file, 'utf8')).sha256 === sha256);
  if (found === undefined) throw new Stop(`${name} has no golden file to check its ONNX form against`);
  return found;
}

/** What the exporter imports, in a folder of its own. @returns {Promise<string>} the folder */
async function pythonPackages() {
  const requirements = join(tool, 'requirements.txt');
  const key = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12);
  const folder = join(cacheDir, 'python', key);
  const done = join(folder, 'complete');
  if (existsSync(done)) return folder;
  const line = step('Python packages of the ONNX export');
  rmSync(folder, { recursive: true, force: true });
  await call(python, ['-m', 'pip', 'install', '--target', folder, '--requirement', requirements], {
    step: line,
    missing,
    advice: 'Is this machine online, and is pip installed? On Debian: sudo apt-get install python3-pip',
  });
  writeFileSync(done, '');
  line.done();
  return folder;
}

/**
 * Makes `NAME/config.json` and `NAME/onnx/*.onnx` of a model that has been fetched.
 * @param {{ name: string, sha256: string }} model
 */
export async function exportOnnx(model) {
  const script = join(tool, 'export.py');
  const key = createHash('sha256').update(readFileSync(script)).update(model.sha256).digest('hex');
  const folder = join(onnxDir, model.name);
  const made = join(folder, 'made-of');
  if (existsSync(made) && readFileSync(made, 'utf8') === key) return;
  const packages = await pythonPackages();
  const line = step(`${model.name} as ONNX`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const source = join(modelsDir, `${model.name}.gguf`);
  const said = await call(python, [script, source, folder, '--golden', goldenOf(model)], {
    step: line,
    missing,
    env: { PYTHONPATH: [packages, process.env.PYTHONPATH].filter(Boolean).join(delimiter) },
  });
  writeFileSync(made, key);
  line.done(/q8: .*/.exec(said)?.[0]);
}
