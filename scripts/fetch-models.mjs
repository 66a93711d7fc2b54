// npm run models [-- NAME... | --all | --list]: fetches model files into the cache. Without a name: the default model.

import { fetchModel, isCached, manifest, modelPath } from './lib/models.mjs';
import { bold, dim, megabytes, run, Stop } from './lib/say.mjs';

await run(async () => {
  const known = manifest();
  const wanted = process.argv.slice(2);
  if (wanted.includes('--list')) {
    for (const model of known) {
      const where = isCached(model) ? modelPath(model.name) : 'not fetched';
      console.log(`${bold(model.name)}  ${megabytes(model.size)}, ${model.license}  ${dim(where)}\n  ${model.what}`);
    }
    return;
  }
  const chosen = wanted.includes('--all')
    ? known
    : wanted.length === 0
      ? known.filter((model) => model.default)
      : wanted.map((name) => {
          const model = known.find((candidate) => candidate.name === name);
          if (model !== undefined) return model;
          throw new Stop(
            `there is no model ${JSON.stringify(name)}`,
            `Known: ${known.map((candidate) => candidate.name).join(', ')}`,
          );
        });
  for (const model of chosen) await fetchModel(model);
});
