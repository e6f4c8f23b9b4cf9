// A hot folder of chokidar and sharp, as its user would write it: node watcher.mjs INBOX OUTBOX RECIPE AT_ONCE
// Prints "ready" when it watches and "done NAME" for each file whose outputs are all written.
import { watch } from 'chokidar';
import path from 'node:path';
import sharp from 'sharp';

const [inbox, outbox, recipe, atOnce] = process.argv.slice(2);
sharp.concurrency(1); // one thread a picture, two pictures at once: as fast as two threads for one, or faster
sharp.cache(false); // no picture comes twice

const fit = (side) => ({ width: side, height: side, fit: 'inside', withoutEnlargement: true });
const jpeg = (options) => (image) => image.jpeg(options);
const webp = (options) => (image) => image.webp(options);
// The largest first: the others are made from its pixels, because each pipeline of its own would decode the file again.
const recipes = {
  thumb: [['thumb', 320, jpeg({ quality: 80 }), 'jpg']],
  own: [['own', 720, jpeg({ quality: 80 }), 'jpg']],
  web: [
    ['web', 1600, jpeg({ quality: 82, progressive: true }), 'jpg'],
    ['small', 400, webp({ quality: 80 }), 'webp'],
  ],
  // The same with libwebp set as procwatch sets it.
  'web-effort-2': [
    ['web', 1600, jpeg({ quality: 82, progressive: true }), 'jpg'],
    ['small', 400, webp({ quality: 80, effort: 2 }), 'webp'],
  ],
};

async function render(file) {
  const stem = path.parse(file).name;
  const outputs = recipes[recipe];
  let open = () => sharp(file).rotate();
  if (outputs.length > 1) {
    const { data, info } = await open().resize(fit(outputs[0][1])).raw().toBuffer({ resolveWithObject: true });
    const { width, height, channels } = info;
    open = () => sharp(data, { raw: { width, height, channels } });
  }
  for (const [name, side, encode, extension] of outputs) {
    await encode(open().resize(fit(side))).toFile(path.join(outbox, `${stem}-${name}.${extension}`));
  }
}

const waiting = [];
let running = 0;
function next() {
  while (running < Number(atOnce) && waiting.length) {
    const file = waiting.shift();
    running += 1;
    render(file)
      .then(() => console.log(`done ${path.basename(file)}`), (error) => console.log(`failed ${file}: ${error}`))
      .finally(() => { running -= 1; next(); });
  }
}

watch(inbox, { ignoreInitial: true })
  .on('add', (file) => { waiting.push(file); next(); })
  .on('ready', () => console.log('ready'));
