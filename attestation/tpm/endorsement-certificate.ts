/**
 * Endorsement certificates (TCG "EK Credential Profile for TPM Family 2.0", section 3): that an accepted vendor says
 * of a key that it is the endorsement key of a TPM 2.0. Rules in docs/spec/evidence.md, section 4, and
 * docs/spec/tpm-identity.md, section 1.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { excerpt, toHex } from '../core/bytes.ts';
import { anchorDigest, verifyCertificatePath } from '../core/certificate-path.ts';
import type { PathInputs, TrustAnchor } from '../core/certificate-path.ts';
import { contentOf, objectIdentifierOf, readElement, Tag, textOf } from '../core/der.ts';
import type { PublicKey } from '../core/public-key.ts';
import { defineChecks, judge } from '../core/verdict.ts';
import type { Checklist, Verdict } from '../core/verdict.ts';
import { ExtensionId, KeyUsage, readCertificate } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';
import { readEndorsementKey } from './endorsement-key.ts';
import { demandPlainStorage, readStoredCertificate } from './stored-certificate.ts';
import { directoryNames, TpmAttribute } from './tpm-names.ts';

export const endorsementChecks = defineChecks('inauthentic', {
  'tpm-ek-path': {
    means: 'The endorsement certificate does not lead to an accepted TPM vendor.',
    hint: 'Send the vendor’s intermediate certificates; the operator has to accept the vendor’s authority.',
    protects: 'Anybody could certify a TPM of their own, for example a simulated one.',
  },
  'tpm-ek-purpose': {
    means: 'The certificate is not for an endorsement key.',
    hint: 'Send the endorsement certificate, not that of an attestation key or of a server.',
    protects: 'Another certificate of the same authority could pass for that of an endorsement key.',
  },
  'tpm-ek-key-usage': {
    means: 'The certified key may not be used as an endorsement key is: to decrypt or to agree on keys.',
    hint: 'Send the endorsement certificate; vendors certify attestation keys with the same purpose.',
    protects: 'A signing key that bears the purpose of an endorsement key could pass for one.',
  },
  'tpm-ek-identity': {
    means: 'The certificate does not name the TPM’s manufacturer, model and version.',
    hint: 'Ask the vendor for a certificate that follows the EK Credential Profile.',
    protects: 'A TPM on the deny list could not be recognised.',
  },
  'tpm-ek-family': {
    means: 'The certificate is not that of a TPM of family 2.0.',
    hint: 'TPM 1.2 is not supported: it knows nothing but SHA-1.',
    protects: 'A TPM with other rules for its keys would be taken for one of family 2.0.',
  },
});

/** How endorsement certificates are verified. */
export type EndorsementInputs = Omit<PathInputs, 'understoodLeafExtensions'>;

/** What an accepted vendor says of an endorsement key. */
export interface EndorsementClaims {
  readonly publicKey: PublicKey;
  /** SHA-256 of the key's SubjectPublicKeyInfo, hex. */
  readonly publicKeyDigest: string;
  /** SHA-256 of the certificate without padding, hex. */
  readonly certificateDigest: string;
  readonly anchor: string;
  /** SHA-256 of the anchor's SubjectPublicKeyInfo, hex. */
  readonly anchorDigest: string;
  readonly simulated: boolean;
  /** For example `id:49465800`. */
  readonly manufacturer: string;
  readonly model: string;
  readonly version: string;
}

const EK_CERTIFICATE_PURPOSE = '2.23.133.8.1';
/** Of certificates of attestation keys. */
const AK_CERTIFICATE_PURPOSE = '2.23.133.8.3';
const TPM_SPECIFICATION = '2.23.133.2.16';

/**
 * Verifies an endorsement certificate as the TPM's memory or its vendor gave it. The endorsement key is the one of
 * the accepted claims, and no other.
 *
 * @param received DER, possibly as the TPM stores it: behind a header, followed by zero or erased (0xff) bytes
 */
export function verifyEndorsementCertificate(
  received: Uint8Array,
  inputs: EndorsementInputs,
): Promise<Verdict<EndorsementClaims>> {
  return judge(async (checks) => {
    const encoded = demandPlainStorage(readStoredCertificate(received, 'ekCertificate'), checks);
    const certificate = readCertificate(encoded, 'ekCertificate');
    const anchor = await checks.attempt(
      endorsementChecks,
      'tpm-ek-path',
      { field: 'ekCertificate', expected: 'a path to an accepted authority' },
      () => verifyCertificatePath(certificate, { ...inputs, understoodLeafExtensions }),
    );
    const publicKey = readEndorsementKey(certificate.subjectPublicKeyInfo, 'ekCertificate.publicKey');
    demandUsage(certificate, publicKey, checks);
    demandFamily(certificate, checks);
    const identity = demandIdentity(certificate, checks);
    return { ...identity, ...keyClaims(certificate, publicKey), ...anchorClaims(anchor) };
  });
}

/** They are judged below. */
const understoodLeafExtensions = [ExtensionId.subjectAltName, ExtensionId.extendedKeyUsage];

function keyClaims(
  certificate: Certificate,
  publicKey: PublicKey,
): Pick<EndorsementClaims, 'publicKey' | 'publicKeyDigest' | 'certificateDigest'> {
  return {
    publicKey,
    publicKeyDigest: toHex(sha256(certificate.subjectPublicKeyInfo)),
    certificateDigest: toHex(sha256(certificate.encoded)),
  };
}

function anchorClaims(anchor: TrustAnchor): Pick<EndorsementClaims, 'anchor' | 'anchorDigest' | 'simulated'> {
  return {
    anchor: anchor.name,
    anchorDigest: toHex(anchorDigest(anchor)),
    simulated: anchor.simulated,
  };
}

function demandUsage(certificate: Certificate, key: PublicKey, checks: Checklist): void {
  const purposes = certificate.extendedKeyUsage ?? [];
  const isForEndorsement =
    purposes.includes(EK_CERTIFICATE_PURPOSE) &&
    !purposes.includes(AK_CERTIFICATE_PURPOSE) &&
    !certificate.isAuthority;
  checks.demand(endorsementChecks, 'tpm-ek-purpose', isForEndorsement, {
    field: 'ekCertificate.extendedKeyUsage',
    expected: `${EK_CERTIFICATE_PURPOSE} without ${AK_CERTIFICATE_PURPOSE}, not an authority`,
    found: purposes.join(', ') || 'none',
  });
  const wanted = key.type === 'rsa' ? 'keyEncipherment' : 'keyAgreement';
  const usage = certificate.keyUsage ?? new Set();
  const isFit = usage.has(KeyUsage[wanted]) && !usage.has(KeyUsage.digitalSignature);
  checks.demand(endorsementChecks, 'tpm-ek-key-usage', isFit, {
    field: 'ekCertificate.keyUsage',
    expected: `${wanted} (bit ${KeyUsage[wanted]}), not digitalSignature`,
    found: `bits ${[...usage].join(', ') || 'none'}`,
  });
}

/** Reads the TPM specification out of the subject directory attributes (EK Credential Profile, section 3.1.3). */
function demandFamily(certificate: Certificate, checks: Checklist): void {
  const value = certificate.extensions.get(ExtensionId.subjectDirectoryAttributes)?.value;
  const family = value === undefined ? undefined : specificationFamily(value);
  checks.demand(endorsementChecks, 'tpm-ek-family', family === '2.0', {
    field: 'ekCertificate.subjectDirectoryAttributes',
    expected: 'TPM family 2.0',
    found: family === undefined ? 'no TPM specification' : excerpt(family),
  });
}

function specificationFamily(value: Uint8Array): string | undefined {
  const attributes = contentOf(readElement(value, Tag.sequence, 'subjectDirectoryAttributes'));
  while (!attributes.isAtEnd) {
    const attribute = contentOf(attributes.next(Tag.sequence, 'attribute'));
    const identifier = objectIdentifierOf(attribute.next(Tag.objectIdentifier, 'identifier'));
    const values = contentOf(attribute.next(Tag.set, 'values'));
    attribute.end();
    if (identifier !== TPM_SPECIFICATION) continue;
    const specification = contentOf(values.next(Tag.sequence, 'specification'));
    return textOf(specification.next(Tag.utf8String, 'family'));
  }
  return undefined;
}

const MANUFACTURER = /^id:[0-9A-Fa-f]{8}$/;
/** What a record and a log line can hold. */
const LINE = /^[\x20-\x7e]{1,200}$/;

function demandIdentity(
  certificate: Certificate,
  checks: Checklist,
): Pick<EndorsementClaims, 'manufacturer' | 'model' | 'version'> {
  const value = certificate.extensions.get(ExtensionId.subjectAltName)?.value;
  const names = value === undefined ? new Map<string, string>() : directoryNames(value);
  const manufacturer = names.get(TpmAttribute.manufacturer) ?? '';
  const model = names.get(TpmAttribute.model) ?? '';
  const version = names.get(TpmAttribute.version) ?? '';
  const isNamed = MANUFACTURER.test(manufacturer) && LINE.test(model) && LINE.test(version);
  checks.demand(endorsementChecks, 'tpm-ek-identity', isNamed, {
    field: 'ekCertificate.subjectAltName',
    expected: 'manufacturer as id: and 8 hexadecimal digits, model, version',
    found: excerpt(`${manufacturer} ${model} ${version}`),
  });
  return { manufacturer, model, version };
}
