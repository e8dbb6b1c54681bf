import { realpath } from 'node:fs/promises';
import { dirname, relative } from 'node:path';

import type { Command } from 'commander';

import { openModelSigningKey } from '../../keys/model-signing-key.ts';
import { readEcdsaPublicKey } from '../../platform/ecdsa.ts';
import { readFileBounded, writeFileDurably } from '../../platform/files.ts';
import { MAX_MODEL_SIGNATURE_BYTES } from '../../sealed/model-signature.ts';
import { checkModelSignature, exportModelSignature } from '../../sealed/model-signing.ts';
import { isAddress } from '../../sealed/source/address.ts';
import { BUNDLE_ARGUMENT, openBundleOf, tokenOption } from '../bundle.ts';
import { usageRefusals } from '../failure.ts';
import { withInterruption } from '../interruption.ts';
import { passphraseOption, print, profileOption } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';
import { progressLine } from '../progress.ts';

const MAX_KEY_BYTES = 16 * 1024;

interface ExportOptions {
  readonly profile: string;
  readonly key: string;
  readonly out: string;
  readonly passphraseFile?: string;
  readonly tokenFile?: string;
}

async function exportSignature(location: string, options: ExportOptions, signal: AbortSignal): Promise<void> {
  const { key, out, passphraseFile } = options;
  if (!isAddress(location)) await refuseOutputInside(location, out);
  const bundle = await openBundleOf(location, options.profile, { ...options, signal });
  const signer = await openModelSigningKey(key, await readPassphrase(passphraseFile, key));
  const signature = await exportModelSignature(bundle, signer, signal);
  await writeFileDurably(out, signature, 0o644, { overwrite: false });
  print(`model signature of manifest ${bundle.manifest.digest} written to ${out}`);
}

/** SW-64: in the bundle it would be a file that nobody signed. A folder that is not there is refused later. */
async function refuseOutputInside(bundle: string, out: string): Promise<void> {
  const [inner, outer] = await Promise.all(
    [dirname(out), bundle].map((path) => realpath(path).catch(() => '')),
  );
  if (inner === undefined || outer === undefined || inner === '' || outer === '') return;
  const way = relative(outer, inner);
  if (way.startsWith('..')) return;
  throw usageRefusals.error('argument-invalid', {
    field: '--out',
    expected: 'a file beside the bundle',
    found: `${out} inside of it`,
  });
}

interface VerifyOptions {
  readonly profile: string;
  readonly signature: string;
  readonly publicKey: string;
  readonly tokenFile?: string;
}

async function verifySignature(location: string, options: VerifyOptions): Promise<void> {
  const publicKey = readEcdsaPublicKey(
    await readFileBounded(options.publicKey, MAX_KEY_BYTES),
    options.publicKey,
  );
  const content = await readFileBounded(options.signature, MAX_MODEL_SIGNATURE_BYTES);
  const progress = progressLine('verifying');
  await withInterruption(async (signal) => {
    const bundle = await openBundleOf(location, options.profile, { ...options, signal });
    const work = { signal, onProgress: progress.update };
    const { resources } = await checkModelSignature(bundle, content, publicKey, work);
    progress.finish();
    print(`verified the signature over ${resources.length} files, manifest ${bundle.manifest.digest}`);
  }).finally(progress.finish);
}

/** `weightgate bundle export-signature|verify-signature`: for people who check models with OpenSSF Model Signing. */
export function registerBundleSignature(bundle: Command): void {
  bundle
    .command('export-signature')
    .argument('<bundle>', BUNDLE_ARGUMENT)
    .description('sign the ciphertext for the tools of OpenSSF Model Signing')
    .addOption(profileOption())
    .requiredOption('--key <file>', 'EC key in PEM (PKCS #8, under a passphrase)')
    .requiredOption('--out <file>', 'new file for the signature, beside the bundle')
    .addOption(passphraseOption())
    .addOption(tokenOption())
    .action(async (location: string, options: ExportOptions) => {
      await withInterruption((signal) => exportSignature(location, options, signal));
    });

  bundle
    .command('verify-signature')
    .argument('<bundle>', BUNDLE_ARGUMENT)
    .description('check a model signature over the ciphertext, and every byte of it')
    .addOption(profileOption())
    .requiredOption('--signature <file>', 'the model signature')
    .requiredOption('--public-key <file>', 'public key of its signer, in PEM')
    .addOption(tokenOption())
    .action(verifySignature);
}
