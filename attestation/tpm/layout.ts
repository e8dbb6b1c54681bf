/**
 * The TPM structures of TCG "TPM 2.0 Library Specification" Part 2 that attestation needs, as declared layouts.
 * The verifier reads with these tables what the agent's commands write with them. Facts only: whether a value is
 * acceptable is decided in other files. All integers are big-endian.
 *
 * A name that ends in `Sized` is the TPM2B form: a size of two bytes and then the structure.
 */

import {
  bigEndian,
  counted,
  decode,
  dependent,
  refuseTag,
  remainingBytes,
  sized,
  sizedBytes,
  structure,
  variants,
} from '../core/layout.ts';
import type { Layout, ValueOf } from '../core/layout.ts';

const { u8, u16, u32, u64 } = bigEndian;

/** TPM_ALG_ID (Part 2, section 6.3), as far as the layouts below know them. */
export const Algorithm = {
  rsa: 0x0001,
  sha1: 0x0004,
  hmac: 0x0005,
  aes: 0x0006,
  mgf1: 0x0007,
  keyedHash: 0x0008,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
  null: 0x0010,
  sm3: 0x0012,
  sm4: 0x0013,
  rsassa: 0x0014,
  rsaes: 0x0015,
  rsapss: 0x0016,
  oaep: 0x0017,
  ecdsa: 0x0018,
  ecdh: 0x0019,
  ecdaa: 0x001a,
  sm2: 0x001b,
  ecSchnorr: 0x001c,
  ecmqv: 0x001d,
  kdf1Sp80056a: 0x0020,
  kdf2: 0x0021,
  kdf1Sp800108: 0x0022,
  ecc: 0x0023,
  camellia: 0x0026,
  sha3With256Bits: 0x0027,
  sha3With384Bits: 0x0028,
  sha3With512Bits: 0x0029,
  ctr: 0x0040,
  ofb: 0x0041,
  cbc: 0x0042,
  cfb: 0x0043,
} as const;

/** TPM_ECC_CURVE (Part 2, section 6.4). */
export const Curve = { p256: 0x0003, p384: 0x0004, p521: 0x0005 } as const;

/** TPM_ST tags of attestation structures (Part 2, section 6.9). */
export const AttestType = { nv: 0x8014, certify: 0x8017, quote: 0x8018, creation: 0x801a } as const;

/** TPM_GENERATED_VALUE: what only the TPM itself writes in front of a structure that a restricted key signs. */
export const TPM_GENERATED = 0xff544347;

/** TPMA_OBJECT (Part 2, section 8.3): the bits of `objectAttributes`. */
export const ObjectAttribute = {
  fixedTPM: 1 << 1,
  stClear: 1 << 2,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  firmwareLimited: 1 << 8,
  svnLimited: 1 << 9,
  noDA: 1 << 10,
  encryptedDuplication: 1 << 11,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
  x509sign: 1 << 19,
} as const;

const KNOWN_OBJECT_ATTRIBUTES = Object.values(ObjectAttribute).reduce((bits, bit) => bits | bit, 0);

const hashAlgorithm = u16({
  oneOf: [
    Algorithm.sha1,
    Algorithm.sha256,
    Algorithm.sha384,
    Algorithm.sha512,
    Algorithm.sm3,
    Algorithm.sha3With256Bits,
    Algorithm.sha3With384Bits,
    Algorithm.sha3With512Bits,
  ],
});

/** TPM2B_DIGEST, also TPM2B_NONCE and TPM2B_AUTH: no digest is longer than that of SHA-512. */
export const digestSized: Layout<Uint8Array> = sizedBytes(u16({ max: 64 }));

/** TPM2B_DATA: as long as a hash algorithm and a digest at most. */
export const dataSized: Layout<Uint8Array> = sizedBytes(u16({ max: 66 }));

/** TPM2B_NAME: a hash algorithm and a digest, or a handle of four bytes. */
export const nameSized: Layout<Uint8Array> = sizedBytes(u16({ max: 66 }));

/** TPM2B_PUBLIC_KEY_RSA: a modulus, a signature or a ciphertext of up to 4096 bits. */
const rsaBytesSized = sizedBytes(u16({ max: 512 }));

/** TPM2B_ECC_PARAMETER: a coordinate, r or s; P-521 is the widest curve. */
const eccBytesSized = sizedBytes(u16({ max: 66 }));

/** TPMS_PCR_SELECTION. Bit `p % 8` of byte `p / 8` stands for PCR p; on PC clients there are 24 of them. */
const pcrSelection = structure({
  hash: hashAlgorithm,
  select: sizedBytes(u8({ oneOf: [3] })),
});

/** TPML_PCR_SELECTION. The list is bounded by the number of banks that a TPM may have (Part 2, HASH_COUNT). */
export const pcrSelectionList = counted(u32({ max: 16 }), pcrSelection);
export type PcrSelectionList = ValueOf<typeof pcrSelectionList>;

/** TPMT_SYM_DEF_OBJECT. `mode` is that of the object: `cfb` for all storage keys. */
const symmetricDefinition = variants('algorithm', u16(), {
  [Algorithm.aes]: { keyBits: u16({ oneOf: [128, 192, 256] }), mode: u16() },
  [Algorithm.sm4]: { keyBits: u16({ oneOf: [128] }), mode: u16() },
  [Algorithm.camellia]: { keyBits: u16({ oneOf: [128, 192, 256] }), mode: u16() },
  [Algorithm.null]: {},
});

/** TPMT_RSA_SCHEME. */
const rsaScheme = variants('algorithm', u16(), {
  [Algorithm.null]: {},
  [Algorithm.rsaes]: {},
  [Algorithm.rsassa]: { hash: hashAlgorithm },
  [Algorithm.rsapss]: { hash: hashAlgorithm },
  [Algorithm.oaep]: { hash: hashAlgorithm },
});

/** TPMT_ECC_SCHEME. */
const eccScheme = variants('algorithm', u16(), {
  [Algorithm.null]: {},
  [Algorithm.ecdsa]: { hash: hashAlgorithm },
  [Algorithm.ecdh]: { hash: hashAlgorithm },
  [Algorithm.ecdaa]: { hash: hashAlgorithm, count: u16() },
  [Algorithm.sm2]: { hash: hashAlgorithm },
  [Algorithm.ecSchnorr]: { hash: hashAlgorithm },
  [Algorithm.ecmqv]: { hash: hashAlgorithm },
});

/** TPMT_KDF_SCHEME. */
const kdfScheme = variants('algorithm', u16(), {
  [Algorithm.null]: {},
  [Algorithm.mgf1]: { hash: hashAlgorithm },
  [Algorithm.kdf1Sp80056a]: { hash: hashAlgorithm },
  [Algorithm.kdf2]: { hash: hashAlgorithm },
  [Algorithm.kdf1Sp800108]: { hash: hashAlgorithm },
});

/** TPMT_KEYEDHASH_SCHEME, without the XOR obfuscation that no key of ours uses. */
const keyedHashScheme = variants('algorithm', u16(), {
  [Algorithm.null]: {},
  [Algorithm.hmac]: { hash: hashAlgorithm },
});

/** TPMS_RSA_PARMS. `exponent` 0 stands for 65537. */
const rsaParameters = structure({
  symmetric: symmetricDefinition,
  scheme: rsaScheme,
  keyBits: u16({ oneOf: [1024, 2048, 3072, 4096] }),
  exponent: u32(),
});

/** TPMS_ECC_PARMS. */
const eccParameters = structure({
  symmetric: symmetricDefinition,
  scheme: eccScheme,
  curve: u16({ oneOf: [Curve.p256, Curve.p384, Curve.p521] }),
  kdf: kdfScheme,
});

/** TPMS_ECC_POINT. */
export const eccPoint = structure({ x: eccBytesSized, y: eccBytesSized });

const publicAreaHead = {
  nameAlgorithm: hashAlgorithm,
  objectAttributes: u32({ knownBits: KNOWN_OBJECT_ATTRIBUTES }),
  authPolicy: digestSized,
};

/** TPMT_PUBLIC: the public area of an object, also used as the template from which a key is made. */
export const publicArea = variants('type', u16(), {
  [Algorithm.rsa]: { ...publicAreaHead, parameters: rsaParameters, unique: rsaBytesSized },
  [Algorithm.ecc]: { ...publicAreaHead, parameters: eccParameters, unique: eccPoint },
  [Algorithm.keyedHash]: { ...publicAreaHead, parameters: keyedHashScheme, unique: digestSized },
});
export type PublicArea = ValueOf<typeof publicArea>;
export type RsaPublicArea = Extract<PublicArea, { readonly type: typeof Algorithm.rsa }>;
export type EccPublicArea = Extract<PublicArea, { readonly type: typeof Algorithm.ecc }>;

/** TPM2B_PUBLIC. */
export const publicAreaSized: Layout<PublicArea> = sized(u16({ max: 1024 }), publicArea);

/** TPMT_SIGNATURE. */
export const signature = variants('algorithm', u16(), {
  [Algorithm.rsassa]: { hash: hashAlgorithm, signature: rsaBytesSized },
  [Algorithm.rsapss]: { hash: hashAlgorithm, signature: rsaBytesSized },
  [Algorithm.ecdsa]: { hash: hashAlgorithm, r: eccBytesSized, s: eccBytesSized },
});
export type Signature = ValueOf<typeof signature>;

/** TPMS_CLOCK_INFO. `clock` counts milliseconds; `safe` is 0 when the clock may have shown this value before. */
export const clockInfo = structure({
  clock: u64(),
  resetCount: u32(),
  restartCount: u32(),
  safe: u8({ oneOf: [0, 1] }),
});

/** TPMS_QUOTE_INFO. */
const quoteInfo = structure({ pcrSelect: pcrSelectionList, pcrDigest: digestSized });

/** TPMS_CERTIFY_INFO. */
const certifyInfo = structure({ name: nameSized, qualifiedName: nameSized });

/** TPMS_CREATION_INFO. */
const creationInfo = structure({ objectName: nameSized, creationHash: digestSized });

/** TPMS_NV_CERTIFY_INFO. */
const nvCertifyInfo = structure({
  indexName: nameSized,
  offset: u16(),
  nvContents: sizedBytes(u16({ max: 2048 })),
});

const attestedLayouts = new Map<unknown, Layout<Attested>>([
  [AttestType.nv, nvCertifyInfo],
  [AttestType.quote, quoteInfo],
  [AttestType.certify, certifyInfo],
  [AttestType.creation, creationInfo],
]);

const attestedTypes = Object.values(AttestType);

/** TPMS_ATTEST: what a restricted key signs, with the body that belongs to its type. */
export const attest = structure({
  magic: u32(),
  type: u16({ oneOf: attestedTypes }),
  qualifiedSigner: nameSized,
  extraData: dataSized,
  clockInfo,
  firmwareVersion: u64(),
  attested: dependent(({ type }, path) => attestedLayouts.get(type) ?? refuseTag(path, attestedTypes, type)),
}) as Layout<Attest>;

type QuoteInfo = ValueOf<typeof quoteInfo>;
type CertifyInfo = ValueOf<typeof certifyInfo>;
type CreationInfo = ValueOf<typeof creationInfo>;
type NvCertifyInfo = ValueOf<typeof nvCertifyInfo>;
type Attested = QuoteInfo | CertifyInfo | CreationInfo | NvCertifyInfo;

interface AttestHead {
  readonly magic: number;
  readonly qualifiedSigner: Uint8Array;
  readonly extraData: Uint8Array;
  readonly clockInfo: ValueOf<typeof clockInfo>;
  readonly firmwareVersion: bigint;
}
export interface QuoteAttest extends AttestHead {
  readonly type: typeof AttestType.quote;
  readonly attested: QuoteInfo;
}
export interface CertifyAttest extends AttestHead {
  readonly type: typeof AttestType.certify;
  readonly attested: CertifyInfo;
}
interface CreationAttest extends AttestHead {
  readonly type: typeof AttestType.creation;
  readonly attested: CreationInfo;
}
export interface NvAttest extends AttestHead {
  readonly type: typeof AttestType.nv;
  readonly attested: NvCertifyInfo;
}
export type Attest = QuoteAttest | CertifyAttest | CreationAttest | NvAttest;

/** TPM2B_ATTEST. The signature covers what the size stands in front of, without the size. */
export const attestSized: Layout<Uint8Array> = sizedBytes(u16({ max: 2048 }));

/** TPMS_CREATION_DATA: how an object came to be. */
export const creationData = structure({
  pcrSelect: pcrSelectionList,
  pcrDigest: digestSized,
  locality: u8(),
  parentNameAlgorithm: u16(),
  parentName: nameSized,
  parentQualifiedName: nameSized,
  outsideInfo: dataSized,
});

/** TPMS_ID_OBJECT: an encrypted credential, bound by an HMAC to the Name of the object that it is for. */
export const identityObject = structure({ integrityHmac: digestSized, encryptedIdentity: remainingBytes() });

/** TPM2B_ENCRYPTED_SECRET: an OAEP ciphertext, or the bytes of an {@link eccPoint}. */
export const encryptedSecretSized: Layout<Uint8Array> = sizedBytes(u16({ max: 512 }));

/** @throws RefusalError `layout-*` */
export function decodePublicArea(bytes: Uint8Array, name: string): PublicArea {
  return decode(publicArea, bytes, name);
}
