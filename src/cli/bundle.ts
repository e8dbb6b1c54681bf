/** Sealed bundles as commands meet them: trusted by the signers that the server's profile names. */

import { fromBase64 } from '../../attestation/core/bytes.ts';
import { readServerProfile } from '../platform/server-profile.ts';
import { SealedBundle } from '../sealed/reader.ts';

/** @throws RefusalError `sealed-*`, `dsse-threshold`, `file-*` */
export async function openBundleOf(folder: string, profilePath: string): Promise<SealedBundle> {
  const profile = await readServerProfile(profilePath);
  const publicKeys = profile.bundleSigners.map((key, i) => fromBase64(key, `profile.bundleSigners[${i}]`));
  return await SealedBundle.open(folder, { signers: { publicKeys, threshold: 1 } });
}
