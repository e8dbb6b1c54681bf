/** Sealed bundles as commands meet them: in a folder or on a mirror, trusted by the signers of the server's profile. */

import { Option } from 'commander';

import { fromBase64 } from '../../attestation/core/bytes.ts';
import { readServerProfile } from '../platform/server-profile.ts';
import type { ManifestTrust } from '../sealed/manifest.ts';
import { SealedBundle } from '../sealed/reader.ts';
import { openSource } from '../sealed/source/open.ts';
import type { BundleSource } from '../sealed/source/source.ts';
import { readSecretLine } from './passphrase.ts';

/** What an argument that names a bundle may be. */
export const BUNDLE_ARGUMENT = 'a folder, or the http(s) address of one on a mirror';

export const tokenOption = (): Option =>
  new Option('--token-file <file>', 'file whose first line is the token for a mirror that asks for one');

interface BundleOptions {
  readonly tokenFile?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws RefusalError `source-address`, `source-credential`, `argument-invalid`, `file-*` */
export async function openSourceOf(location: string, { tokenFile }: BundleOptions): Promise<BundleSource> {
  const token = tokenFile === undefined ? undefined : await readSecretLine(tokenFile, 'a token');
  return await openSource(location, { token });
}

/** @throws RefusalError `file-*`, `shape-mismatch`, `base64-malformed` */
export async function bundleTrustOf(profilePath: string): Promise<ManifestTrust> {
  const profile = await readServerProfile(profilePath);
  const publicKeys = profile.bundleSigners.map((key, i) => fromBase64(key, `profile.bundleSigners[${i}]`));
  return { signers: { publicKeys, threshold: 1 } };
}

/** @throws RefusalError `sealed-*`, `source-*`, `dsse-threshold`, `file-*` */
export async function openBundleOf(
  location: string,
  profilePath: string,
  options: BundleOptions = {},
): Promise<SealedBundle> {
  const trust = await bundleTrustOf(profilePath);
  return await SealedBundle.open(await openSourceOf(location, options), trust, options.signal);
}
