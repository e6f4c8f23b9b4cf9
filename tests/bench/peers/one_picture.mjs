// sharp on one picture, again and again, in one process: node one_picture.mjs IN OUT WIDTH HEIGHT QUALITY SECONDS
// An OUT that ends in .png is for comparing pixels. Prints {"count", "seconds", "cpu"}.
import sharp from 'sharp';

const [input, output, width, height, quality, seconds] = process.argv.slice(2);
sharp.concurrency(1);
sharp.cache(false);

async function once() {
  const image = sharp(input).rotate().resize(Number(width), Number(height), { fit: 'inside', withoutEnlargement: true });
  await (output.endsWith('.png') ? image.png() : image.jpeg({ quality: Number(quality) })).toFile(output);
}

await once();
let count = 0;
const cpuBefore = process.cpuUsage();
const began = process.hrtime.bigint();
const taken = () => Number(process.hrtime.bigint() - began) / 1e9;
while (taken() < Number(seconds)) {
  await once();
  count += 1;
}
const { user, system } = process.cpuUsage(cpuBefore);
console.log(JSON.stringify({ count, seconds: taken(), cpu: (user + system) / 1e6 }));
