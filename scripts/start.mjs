// npm start [-- --port N] [--host H] [--no-open] [--no-model]: builds what is not up to date, fetches the default model and
// serves the page. Everything it needs beyond rustup, Node and Python it installs itself.

import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildAll } from './lib/build.mjs';
import { fetchModel, manifest } from './lib/models.mjs';
import { modelsDir, root } from './lib/paths.mjs';
import { bold, dim, note, run, Stop } from './lib/say.mjs';
import { serve } from './lib/serve.mjs';
import { openOnDesktop } from './lib/tools.mjs';

const usage = `npm start [-- OPTIONS]
  --port N      serve on port N (default: the first free one from 5173)
  --host H      serve on address H (default 127.0.0.1)
  --no-open     do not open a browser
  --no-model    do not fetch the default model`;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: 'string' },
        host: { type: 'string', default: '127.0.0.1' },
        'no-open': { type: 'boolean', default: false },
        'no-model': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    const port = values.port === undefined ? undefined : Number(values.port);
    if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port < 65_536)) {
      throw new Error(`--port ${values.port} is not a port number`);
    }
    return { ...values, port };
  } catch (error) {
    throw new Stop(error instanceof Error ? error.message : String(error), usage);
  }
}

await run(async () => {
  const options = readOptions();
  if (options.help) {
    console.log(usage);
    return;
  }
  await buildAll();
  const models = manifest();
  if (!options['no-model']) {
    for (const model of models.filter((candidate) => candidate.default)) await fetchModel(model);
  }
  const files = new Set(models.map((model) => `${model.name}.gguf`));
  const { address, port } = await serve({
    mounts: [
      { at: '/models/', folder: modelsDir, only: (name) => files.has(name) },
      { at: '/models/', folder: join(root, 'models'), only: (name) => name === 'manifest.json' },
      { at: '/models/guides/', folder: join(root, 'models/guides') },
      { at: '/', folder: join(root, 'web/studio/dist') },
    ],
    host: options.host,
    port: options.port,
  });
  console.log(`\n  ${bold('Pilotfish')} is at ${bold(address)}  ${dim('(Ctrl+C ends it)')}\n`);
  if (options.host === '0.0.0.0' || options.host === '::') {
    const others = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    for (const { address: ip } of others.filter((face) => face.family === 'IPv4' && !face.internal)) {
      console.log(`  ${dim(`also http://${ip}:${port}/`)}`);
    }
    note(
      'browsers offer WebGPU only to localhost and https: from another device, put a TLS proxy in front or use ssh -L',
    );
  }
  if (!options['no-open']) openOnDesktop(address);
});
