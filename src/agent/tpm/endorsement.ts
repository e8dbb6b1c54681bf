/** Finds the endorsement key of a TPM together with the certificate that its vendor put beside it. */

import { concatBytes, toHex } from '../../../attestation/core/bytes.ts';
import { readFirstElement, Tag } from '../../../attestation/core/der.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { readEndorsementKey } from '../../../attestation/tpm/endorsement-key.ts';
import { Algorithm, type PublicArea } from '../../../attestation/tpm/layout.ts';
import {
  endorsementCertificateIndices,
  endorsementKeyTemplates,
  endorsementPublicArea,
  type EndorsementTemplateName,
} from '../../../attestation/tpm/templates.ts';
import { Handle, HandleRange } from '../../../native/tpm-commands/commands.ts';
import { tpmAnswerRefusals } from '../../../native/tpm-commands/refusals.ts';
import { SaltKey } from '../../../native/tpm-commands/salt-key.ts';
import type { LoadedKey, Tpm } from '../../../native/tpm-commands/tpm.ts';

export interface Endorsement {
  readonly template: EndorsementTemplateName;
  /** DER, without the padding of its storage. */
  readonly certificate: Uint8Array;
}

/** An endorsement key in the TPM. Only a transient one is the caller's to unload. */
export interface EndorsementKey extends LoadedKey {
  readonly transient: boolean;
}

/** The order in which certificates are looked for. */
const TEMPLATE_NAMES: readonly EndorsementTemplateName[] = [
  'L-1',
  'L-2',
  'H-1',
  'H-2',
  'H-3',
  'H-4',
  'H-6',
  'H-7',
];

/** NV indices of the EK Credential Profile, and persistent handles that it sets aside for endorsement keys. */
const FIRST_CERTIFICATE_INDEX = 0x01c00000;
const CERTIFICATE_INDICES = 0x200;
const FIRST_ENDORSEMENT_HANDLE = 0x81010000;
const LAST_ENDORSEMENT_HANDLE = 0x8101ffff;
const MAX_LISTED = 254;

/**
 * Reads the first certificate that the TPM stores.
 *
 * @param names the templates to look for, in this order; by default all
 * @throws RefusalError `tpm-certificate-missing`, `tpm-certificate-malformed`, `tpm-response`
 */
export async function findEndorsement(
  tpm: Tpm,
  names: readonly EndorsementTemplateName[] = TEMPLATE_NAMES,
): Promise<Endorsement> {
  const stored = new Set(await tpm.handles(FIRST_CERTIFICATE_INDEX, MAX_LISTED));
  for (const template of names) {
    const index = endorsementCertificateIndices[template];
    if (!stored.has(index)) continue;
    return { template, certificate: cutToCertificate(await tpm.readNv(index), index) };
  }
  const others = [...stored].filter((index) => index < FIRST_CERTIFICATE_INDEX + CERTIFICATE_INDICES);
  throw tpmAnswerRefusals.error('tpm-certificate-missing', {
    field: 'endorsement certificate',
    expected: `a certificate for one of the templates ${names.join(', ')}`,
    found: others.length === 0 ? 'none' : `only ${others.map((index) => index.toString(16)).join(', ')}`,
  });
}

/**
 * Cuts the content of an NV index to the certificate that it begins with. Indices are often larger than what they
 * hold; the rest must be zeros or erased storage, so that nothing is hidden there.
 *
 * @throws RefusalError `tpm-certificate-malformed`, `der-*`
 */
export function cutToCertificate(content: Uint8Array, index: number): Uint8Array {
  const field = `NV index 0x${index.toString(16)}`;
  const { encoded } = readFirstElement(content, Tag.sequence, field);
  const padding = content.subarray(encoded.length);
  const [first = 0] = padding;
  if ((first !== 0 && first !== 0xff) || padding.some((byte) => byte !== first)) {
    throw tpmAnswerRefusals.error('tpm-certificate-malformed', {
      field,
      expected: 'only padding behind the certificate',
      found: toHex(padding.subarray(0, 16)),
    });
  }
  return encoded;
}

/**
 * Gives a handle of the endorsement key in the certificate: the persistent one where the vendor left it loaded,
 * because making an RSA key takes a TPM up to a minute, else a new one from the template.
 *
 * @throws RefusalError `tpm-endorsement-key-other`, `tpm-slots-full`, `tpm-response`
 */
export async function loadEndorsementKey(tpm: Tpm, endorsement: Endorsement): Promise<EndorsementKey> {
  for (const handle of await tpm.handles(HandleRange.persistent, MAX_LISTED)) {
    if (handle < FIRST_ENDORSEMENT_HANDLE || handle > LAST_ENDORSEMENT_HANDLE) continue;
    const key = await tpm.readPublic(handle);
    if (isEndorsementKey(key.publicArea, endorsement)) return { ...key, transient: false };
  }
  const key = await tpm.createPrimary(Handle.endorsement, endorsementKeyTemplates[endorsement.template]);
  if (isEndorsementKey(key.publicArea, endorsement)) return { ...key, transient: true };
  await tpm.flush(key.handle);
  throw tpmAnswerRefusals.error('tpm-endorsement-key-other', {
    field: `endorsement key ${endorsement.template}`,
    expected: 'the key in the certificate',
    found: 'another key from the same template',
  });
}

/**
 * The endorsement key as one to which salts are encrypted: the public key out of the certificate, which the server must
 * have verified; of the key in the TPM only the handle is used (TA-23).
 *
 * @throws RefusalError `der-*`, `certificate-*`, `public-key-*`
 */
export function endorsementSaltKey({ template, certificate }: Endorsement, handle: number): SaltKey {
  const { subjectPublicKeyInfo } = readCertificate(certificate, 'endorsementCertificate');
  const key = readEndorsementKey(subjectPublicKeyInfo, 'endorsementCertificate');
  return SaltKey.ofVerifiedArea(handle, endorsementPublicArea(template, key));
}

/**
 * Whether a key is of the template and its public value stands in the certificate. The server judges the certificate;
 * this only tells the operator early, so a search of the bytes is enough and copes with every encoding of the key.
 */
function isEndorsementKey(key: PublicArea, { template, certificate }: Endorsement): boolean {
  const wanted = endorsementKeyTemplates[template];
  if (key.type !== wanted.type || key.nameAlgorithm !== wanted.nameAlgorithm) return false;
  return Buffer.from(certificate).includes(Buffer.from(publicValue(key)));
}

function publicValue(key: PublicArea): Uint8Array {
  if (key.type === Algorithm.ecc) return concatBytes(key.unique.x, key.unique.y);
  return key.unique;
}
