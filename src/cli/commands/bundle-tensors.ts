import { createHash } from 'node:crypto';
import { join } from 'node:path';

import { Option, type Command } from 'commander';

import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import { withStoredModelKey } from '../../keys/sealing-key.ts';
import { LazyBundle } from '../../sealed/lazy.ts';
import type { SealedBundle } from '../../sealed/reader.ts';
import { interrupted } from '../../sealed/refusals.ts';
import type { IndexedTensor } from '../../sealed/tensor-index.ts';
import { openServerKeys } from '../../server/home.ts';
import { BUNDLE_ARGUMENT, openBundleOf, tokenOption } from '../bundle.ts';
import { withInterruption } from '../interruption.ts';
import { passphraseOption, print, PROFILE } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';

/** What is copied out of secret memory at a time, and overwritten again. */
const PIECE_BYTES = 64 * 1024;

interface TensorsOptions {
  readonly home: string;
  readonly digest?: string;
  readonly file?: string;
  readonly json?: true;
  readonly passphraseFile?: string;
  readonly tokenFile?: string;
}

async function showTensors(location: string, options: TensorsOptions, signal: AbortSignal): Promise<void> {
  const profile = join(options.home, PROFILE);
  const bundle = await openBundleOf(location, profile, { ...options, signal });
  const keys = await openServerKeys(options.home, await readPassphrase(options.passphraseFile, options.home));
  try {
    const model = await withStoredModelKey(keys.modelKeys, bundle.manifest.digest, (modelKey) =>
      LazyBundle.open(bundle, modelKey, { signal }),
    );
    try {
      await show(model, bundle, options, signal);
    } finally {
      await model.close();
    }
  } finally {
    await keys.close();
  }
}

async function show(
  model: LazyBundle,
  bundle: SealedBundle,
  { digest, file, json }: TensorsOptions,
  signal: AbortSignal,
): Promise<void> {
  const path = file === undefined ? undefined : bundle.file(file).path;
  if (digest !== undefined) {
    print(await digestOf(model, digest, path, signal));
    return;
  }
  const tensors = model.index.tensors.filter((tensor) => path === undefined || tensor.path === path);
  if (json === true) print(documentOf(bundle.manifest.digest, tensors));
  else tableOf(tensors).forEach(print);
}

/** @returns lower-case hex SHA-256 of the plaintext, as `sha256sum` would say it */
async function digestOf(
  model: LazyBundle,
  name: string,
  path: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const { memory } = await model.use(name, { path, signal });
  const hash = createHash('sha256');
  for (let offset = 0; offset < memory.bytes; offset += PIECE_BYTES) {
    if (signal.aborted) throw interrupted();
    const piece = memory.read(offset, Math.min(PIECE_BYTES, memory.bytes - offset));
    hash.update(piece);
    piece.fill(0);
  }
  return hash.digest('hex');
}

function tableOf(tensors: readonly IndexedTensor[]): readonly string[] {
  const rows = tensors.map(({ name, type, shape, bytes, offset, path }) => [
    name,
    type,
    `[${shape.join(', ')}]`,
    `${bytes}`,
    `${offset}`,
    path,
  ]);
  const table = [['tensor', 'type', 'shape', 'bytes', 'offset', 'file'], ...rows];
  const widths = table.reduce<readonly number[]>(
    (most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)),
    [],
  );
  return table.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Everything beyond ASCII is escaped: names come from whoever made the model, and the text is shown on terminals. */
function documentOf(manifest: string, tensors: readonly IndexedTensor[]): string {
  const document = encodeCanonicalJson({
    manifest,
    tensors: tensors.map(({ name, path, type, shape, offset, bytes }) => ({
      name,
      path,
      type,
      shape,
      offset,
      bytes,
    })),
  });
  return fromUtf8(document, 'tensors').replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `weightgate bundle tensors`: what a sealed model consists of, for its owner. */
export function registerBundleTensors(bundle: Command): void {
  bundle
    .command('tensors')
    .argument('<bundle>', BUNDLE_ARGUMENT)
    .description('list the tensors of a sealed model; needs the key store of its owner')
    .requiredOption('--home <home>', 'home of the key-release server that sealed it')
    .option('--digest <name>', 'print the SHA-256 of the plaintext of one tensor instead')
    .option('--file <path>', 'only of this file of the bundle')
    .addOption(new Option('--json', 'one JSON document in place of lines').conflicts('digest'))
    .addOption(passphraseOption())
    .addOption(tokenOption())
    .action(async (location: string, options: TensorsOptions) => {
      await withInterruption((signal) => showTensors(location, options, signal));
    });
}
