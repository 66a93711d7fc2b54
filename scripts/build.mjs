// npm run build: the wasm, the npm package and the page.

import { buildAll } from './lib/build.mjs';
import { run } from './lib/say.mjs';

await run(buildAll);
