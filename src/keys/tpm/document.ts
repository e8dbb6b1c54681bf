/** The custody file: which wrapping keys a TPM has sealed, and who approves that it opens them (KC-45). */

import { z } from 'zod';

import { fromBase64, fromHex, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import { decode, encode } from '../../../attestation/core/layout.ts';
import { publicArea, type PublicArea } from '../../../attestation/tpm/layout.ts';
import { privateAreaSized } from '../../../native/tpm-commands/sealing-commands.ts';
import type { SealedData } from '../../../native/tpm-commands/sealing.ts';
import { digestField, modeField, originField } from '../../governance/fields.ts';
import { keyIntegrityRefusals, keyUsageRefusals, keyUseRefusals } from '../refusals.ts';
import { readFileBounded } from '../../platform/files.ts';
import { parseSecretFile, readSecretBytes } from '../secret-file.ts';
import type { CustodyIdentity } from './policy.ts';

const MAX_CUSTODY_BYTES = 64 * 1024;

/** Rotations that were not followed by a retirement. */
const MAX_WRAPPING_KEYS = 32;

const identifierField = z.string().regex(/^[0-9a-f]{32}$/);

const sealedMembers = {
  publicArea: z.base64().min(4).max(512),
  privateArea: z.base64().min(4).max(2048),
};

const custodySchema = z.strictObject({
  version: z.literal(1),
  type: z.literal('weightgate-tpm-custody'),
  custody: digestField,
  origin: originField,
  mode: modeField,
  /** Name of the storage root key: another TPM has another one. */
  storageKey: z.string().regex(/^000b[0-9a-f]{64}$/),
  /** TPMT_PUBLIC of the key that approves. */
  signer: z.base64().min(4).max(1024),
  counterIndex: z.int().min(0x01000000).max(0x01ffffff),
  closingPcr: z.int().min(8).max(15).nullable(),
  current: identifierField,
  /** Of the secret after which the custody is named. */
  root: z.strictObject(sealedMembers),
  keys: z
    .array(z.strictObject({ id: identifierField, ...sealedMembers, mac: z.base64().length(44) }))
    .min(1)
    .max(MAX_WRAPPING_KEYS),
});
export type TpmCustodyDocument = z.infer<typeof custodySchema>;
export type SealedRoot = TpmCustodyDocument['root'];
export type SealedKeyEntry = TpmCustodyDocument['keys'][number];

/**
 * @throws RefusalError `keyring-other-server`, `key-file-damaged`, `key-file-exposed`, `file-*`, `json-*`,
 *   `shape-mismatch`
 */
export async function readTpmCustodyFile(
  path: string,
  { origin, mode }: Pick<CustodyIdentity, 'origin' | 'mode'>,
): Promise<TpmCustodyDocument> {
  const document = parseTpmCustody(await readSecretBytes(path), path);
  if (document.origin === origin && document.mode === mode) return document;
  throw keyUsageRefusals.error('keyring-other-server', {
    field: path,
    expected: `${origin}, ${mode} (KC-45)`,
    found: `${document.origin}, ${document.mode}`,
  });
}

/**
 * As whoever approves reads it: a copy, of a server that its reader judges by what the file says. Only the TPM can open
 * what is secret in it.
 *
 * @throws RefusalError `key-file-damaged`, `file-*`, `json-*`, `shape-mismatch`
 */
export async function readTpmCustodyCopy(path: string): Promise<TpmCustodyDocument> {
  return parseTpmCustody(await readFileBounded(path, MAX_CUSTODY_BYTES), path);
}

function parseTpmCustody(bytes: Uint8Array, path: string): TpmCustodyDocument {
  const document = parseSecretFile(bytes, custodySchema, path);
  const ids = document.keys.map(({ id }) => id);
  if (new Set(ids).size === ids.length && ids.includes(document.current)) return document;
  throw keyIntegrityRefusals.error('key-file-damaged', {
    field: path,
    expected: 'each wrapping key once, the current one among them (KC-45)',
    found: ids.join(', '),
  });
}

export function identityOf({ custody, origin, mode }: TpmCustodyDocument): CustodyIdentity {
  return { custody, origin, mode };
}

/** @throws RefusalError `base64-malformed`, `layout-*` */
export function signerOf({ signer }: TpmCustodyDocument): PublicArea {
  return decode(publicArea, fromBase64(signer, 'signer'), 'signer');
}

export function storageKeyNameOf({ storageKey }: TpmCustodyDocument): Uint8Array {
  return fromHex(storageKey, 'storageKey');
}

export function sealedDocument(sealed: SealedData): SealedRoot {
  return {
    publicArea: toBase64(encode(publicArea, sealed.publicArea, 'publicArea')),
    privateArea: toBase64(encode(privateAreaSized, sealed.privateArea, 'privateArea')),
  };
}

/** @throws RefusalError `base64-malformed`, `layout-*` */
export function sealedDataOf(sealed: SealedRoot, field: string): SealedData {
  return {
    publicArea: decode(publicArea, fromBase64(sealed.publicArea, field), `${field}.publicArea`),
    privateArea: decode(privateAreaSized, fromBase64(sealed.privateArea, field), `${field}.privateArea`),
  };
}

/** What a new file says besides its keys. */
export interface NewTpmCustody extends CustodyIdentity {
  readonly storageKeyName: Uint8Array;
  readonly signer: PublicArea;
  readonly counterIndex: number;
  readonly closingPcr: number | null;
}

export function newTpmCustodyDocument(
  made: NewTpmCustody,
  root: SealedRoot,
  first: SealedKeyEntry,
): TpmCustodyDocument {
  const { custody, origin, mode, storageKeyName, signer, counterIndex, closingPcr } = made;
  return {
    version: 1,
    type: 'weightgate-tpm-custody',
    custody,
    origin,
    mode,
    storageKey: toHex(storageKeyName),
    signer: toBase64(encode(publicArea, signer, 'signer')),
    counterIndex,
    closingPcr,
    root,
    current: first.id,
    keys: [first],
  };
}

/** The document with a further key, which becomes the current one. @throws RefusalError `custody-failed` */
export function withSealedKey(document: TpmCustodyDocument, entry: SealedKeyEntry): TpmCustodyDocument {
  if (document.keys.length >= MAX_WRAPPING_KEYS) {
    throw keyUseRefusals.error('custody-failed', {
      field: 'wrappingKeys',
      expected: `fewer than ${MAX_WRAPPING_KEYS} wrapping keys; retire the older ones first`,
      found: String(document.keys.length),
    });
  }
  return { ...document, current: entry.id, keys: [...document.keys, entry] };
}

export function withCurrentSealedKeyOnly(document: TpmCustodyDocument): TpmCustodyDocument {
  return { ...document, keys: document.keys.filter(({ id }) => id === document.current) };
}
