import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { Option, type Command } from 'commander';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { storeModelKey, withFreshModelKey, withStoredModelKey } from '../../keys/sealing-key.ts';
import type { NamedSigner } from '../../keys/signing-key.ts';
import { readServerProfile } from '../../platform/server-profile.ts';
import { sealFolder, unfinishedSealing, type SealedResult, type SealOptions } from '../../sealed/writer.ts';
import { openServerKeys, type ServerKeys } from '../../server/home.ts';
import { identifierArgument } from '../arguments.ts';
import { usageRefusals } from '../failure.ts';
import { withInterruption } from '../interruption.ts';
import { openSigningKeys, passphraseOption, print, PROFILE, remark } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';
import { progressLine } from '../progress.ts';

interface SealArguments {
  readonly out: string;
  readonly home: string;
  readonly key: string;
  readonly name: string;
  readonly modelVersion: string;
  readonly variant: string;
  readonly passphraseFile?: string;
}

async function seal(folder: string, options: SealArguments): Promise<void> {
  const signers = await openSigningKeys([options.key], options.passphraseFile);
  const keys = await openServerKeys(options.home, await readPassphrase(options.passphraseFile, options.home));
  const progress = progressLine('sealing');
  try {
    await requireBundleSigners(options.home, signers);
    const model = { name: options.name, version: options.modelVersion, variant: options.variant };
    const result = await withInterruption((signal) =>
      sealAndStore(keys, folder, options.out, { model, signers, signal, onProgress: progress.update }),
    );
    progress.finish();
    print(`sealed ${result.files.length} files, ${result.totalBytes} bytes, into ${options.out}`);
    print(`manifest ${result.manifestDigest}`);
  } finally {
    progress.finish();
    await keys.close();
  }
}

/** A bundle that somebody else signed would be refused by everybody who is given it. */
async function requireBundleSigners(home: string, signers: readonly NamedSigner[]): Promise<void> {
  const { bundleSigners } = await readServerProfile(join(home, PROFILE));
  for (const { name, publicKey } of signers) {
    if (bundleSigners.includes(toBase64(publicKey))) continue;
    throw usageRefusals.error('argument-invalid', {
      field: '--key',
      expected: 'the key of a person whom the profile of the server names',
      found: `the key of ${name}`,
    });
  }
}

/**
 * The key is stored before anything is sealed, under its commitment, and again under the manifest before the bundle
 * appears: a bundle whose key is lost never stands anywhere, and an interrupted sealing finds its key.
 */
async function sealAndStore(
  { modelKeys }: ServerKeys,
  folder: string,
  target: string,
  options: Omit<SealOptions, 'modelKey' | 'onBegin' | 'onManifest'>,
): Promise<SealedResult> {
  let commitment = unfinishedSealing(target);
  const sealWith = (modelKey: SealOptions['modelKey']): Promise<SealedResult> =>
    sealFolder(folder, target, {
      ...options,
      modelKey,
      onBegin: async (begun) => {
        commitment = begun;
        await storeModelKey(modelKeys, begun, modelKey);
      },
      onManifest: async (digest) => {
        if (!modelKeys.has(digest)) await storeModelKey(modelKeys, digest, modelKey);
      },
    });
  try {
    if (commitment === undefined) return await withFreshModelKey(sealWith);
    remark(`going on with the sealing that was interrupted; its files stand in ${target}.partial`);
    return await withStoredModelKey(modelKeys, commitment, sealWith);
  } finally {
    const left = existsSync(`${target}.sealing`);
    if (commitment !== undefined && !left) modelKeys.discard(commitment);
    if (left) {
      remark(
        `unfinished: run the same command again to go on, or remove ${target}.partial and ${target}.sealing`,
      );
    }
  }
}

/** `weightgate seal`: a model directory into a sealed bundle; its key goes to the server's key store. */
export function registerSeal(program: Command): void {
  program
    .command('seal <folder>')
    .description('seal a model directory; the key goes to the key store of the server home, wrapped')
    .requiredOption('--out <bundle>', 'new folder for the sealed bundle')
    .requiredOption('--home <home>', 'home of the key-release server')
    .requiredOption('--key <file>', 'signing key of a person of the trust root, for the manifest')
    .requiredOption('--name <name>', 'name of the model', identifierArgument)
    .requiredOption('--model-version <version>', 'its version', identifierArgument)
    .addOption(
      new Option('--variant <variant>', 'which of the two').choices(['base', 'aligned']).default('aligned'),
    )
    .addOption(passphraseOption())
    .action(seal);
}
