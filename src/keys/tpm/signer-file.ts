/** The public key that approves, as people hand it over: PEM of a SubjectPublicKeyInfo (RFC 7468 section 13). */

import { readPem } from '../../../attestation/core/pem.ts';
import { type PublicKey, readSubjectPublicKeyInfo } from '../../../attestation/core/public-key.ts';
import { readFileBounded } from '../../platform/files.ts';

const MAX_KEY_BYTES = 8 * 1024;

/** @throws RefusalError `file-*`, `pem-malformed`, `der-*`, `public-key-*` */
export async function readSignerFile(path: string): Promise<PublicKey> {
  const der = readPem(await readFileBounded(path, MAX_KEY_BYTES), 'PUBLIC KEY', path);
  return readSubjectPublicKeyInfo(der, path);
}
