/** What a good boot is made of, as reference values state it (docs/spec/tpm-boot.md, section 3). */

import { toHex } from '../../core/bytes.ts';
import {
  hexShape,
  listShape,
  literalShape,
  mapShape,
  nullableShape,
  objectShape,
  textShape,
} from '../../core/json-shape.ts';
import type { Shape } from '../../core/json-shape.ts';
import type { LoaderText } from './command-line.ts';
import { UKI_SECTIONS } from './uki.ts';

const digestShape: Shape<string> = (value, path) => toHex(hexShape({ bytes: [32, 48] })(value, path));
const textLineShape = textShape({ pattern: /^[^\0]{1,4096}$/s });
/** Printable, without blanks: the kernel takes more than the space for a blank. */
const wordShape = textShape({ pattern: /^[\x21-\x7e]{1,400}$/ });

const exactShape = objectShape({ exact: textLineShape });
const wordsShape = objectShape({ words: listShape({ minItems: 1, maxItems: 256 }, wordShape) });
const loaderTextShape: Shape<LoaderText> = (value, path) =>
  typeof value === 'object' && value !== null && 'words' in value
    ? wordsShape(value, path)
    : exactShape(value, path);

const setOf =
  <T>(list: Shape<readonly T[]>): Shape<ReadonlySet<T>> =>
  (value, path) =>
    new Set(list(value, path));
const digestsShape = setOf(listShape({ minItems: 0, maxItems: 1024 }, digestShape));

const bootShape = objectShape({
  images: digestsShape,
  loader: objectShape({
    digests: digestsShape,
    texts: listShape({ minItems: 0, maxItems: 1024 }, loaderTextShape),
  }),
  uki: listShape(
    { minItems: 0, maxItems: 64 },
    objectShape({ section: literalShape(...UKI_SECTIONS), digest: digestShape }),
  ),
  mok: digestsShape,
  files: mapShape(
    { name: /^[^\0]{1,4096}$/s, maxMembers: 4096 },
    listShape({ minItems: 1, maxItems: 64 }, hexShape({ bytes: [32, 48, 64] })),
  ),
  agentPrograms: digestsShape,
});

/**
 * Values of one good boot. Digests of `images`, `loader`, `uki` and `mok` are those of the bank, `files` by path in whatever hash
 * the kernel uses, `agentPrograms` SHA-256. `uki` is the whole list of sections in the order in which they are measured.
 */
export type BootReference = ReturnType<typeof bootShape>;

export const bootReferenceShape: Shape<BootReference | null> = nullableShape(bootShape);

/** Whether a document states anything: one that does not is written null. */
export function isEmptyReference({ images, loader, uki, mok, files, agentPrograms }: BootReference): boolean {
  const sizes = [images.size, loader.digests.size, loader.texts.length, uki.length, mok.size, files.size];
  return agentPrograms.size === 0 && sizes.every((size) => size === 0);
}
