/**
 * Who may answer for an issuer (RFC 6960 section 4.2.2.2): the issuer itself, or a responder to whom this very issuer gave
 * a certificate for it. A responder whose own certificate could be revoked is not taken: who would be asked about it?
 */

import { sha1 } from '@noble/hashes/legacy.js';

import { equalBytes, toHex } from '../../core/bytes.ts';
import type { CertificateMemory } from '../../core/certificate-memory.ts';
import { isSignedBy } from '../../core/certificate-path.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { ExtensionId, KeyUsage } from '../../core/x509.ts';
import type { Certificate } from '../../core/x509.ts';
import type { ResponderId } from './answer.ts';
import { publicKeyBits } from './certificate-id.ts';
import { OcspId } from './format.ts';

export const responderRefusals = defineRefusals('inauthentic', {
  'ocsp-responder': {
    means: 'An OCSP answer is signed by somebody to whom the issuer has not delegated answering.',
    hint: 'Ask the vendor’s responder itself; an answer made by others says nothing.',
  },
  'ocsp-responder-signature': {
    means: 'The certificate of an OCSP responder is not signed by the issuer that it names.',
    hint: 'The answer was altered, or the issuer’s name was copied; fetch it again.',
  },
  'ocsp-responder-revocable': {
    means: 'The certificate of an OCSP responder does not say that it is not to be checked for revocation.',
    hint: 'Nobody could say whether the responder’s own certificate was revoked; ask the vendor.',
  },
  'ocsp-responder-validity': {
    means: 'The certificate of an OCSP responder is not valid at the time of verification.',
    hint: 'Ask the responder again; it should have a current certificate.',
  },
});

const FIELD = 'ocsp.responder';

const UNDERSTOOD: readonly string[] = [
  ExtensionId.basicConstraints,
  ExtensionId.keyUsage,
  ExtensionId.extendedKeyUsage,
  OcspId.noCheck,
];

export interface ResponderInputs {
  /** Issuer of the certificate in question; the caller knows it to be authentic. */
  readonly issuer: Certificate;
  /** POSIX seconds. */
  readonly time: number;
  readonly memory: CertificateMemory | undefined;
}

/**
 * The certificate by whose key the answer has to be signed.
 *
 * @param delegate the certificate in the answer, if there is one
 * @throws RefusalError `ocsp-responder*`, and what verifying a signature can throw
 */
export async function authorisedResponder(
  delegate: Certificate | undefined,
  claimed: ResponderId,
  inputs: ResponderInputs,
): Promise<Certificate> {
  const responder = delegate ?? inputs.issuer;
  if (!isNamed(responder, claimed)) {
    throw refuse('the responder that the answer names', 'the certificate of another');
  }
  if (delegate !== undefined) await demandDelegation(delegate, inputs);
  return responder;
}

/** SHA-1 only finds the certificate, as RFC 6960 has it; that the responder signed is what proves. */
function isNamed(responder: Certificate, claimed: ResponderId): boolean {
  return claimed.by === 'name'
    ? equalBytes(claimed.name, responder.subject)
    : equalBytes(claimed.keyHash, sha1(publicKeyBits(responder, FIELD)));
}

async function demandDelegation(
  delegate: Certificate,
  { issuer, time, memory }: ResponderInputs,
): Promise<void> {
  if (!equalBytes(delegate.issuer, issuer.subject)) {
    throw refuse('a certificate from the issuer of the one in question', 'one of another issuer');
  }
  if (!(await isSignedBy(delegate, issuer, FIELD, memory))) {
    throw responderRefusals.error('ocsp-responder-signature', {
      field: FIELD,
      expected: 'a signature by the issuer of the certificate in question',
      found: 'one that does not verify',
    });
  }
  demandPurpose(delegate);
  if (time < delegate.notBefore || time > delegate.notAfter) {
    throw responderRefusals.error('ocsp-responder-validity', {
      field: FIELD,
      expected: `a time from ${delegate.notBefore} to ${delegate.notAfter}`,
      found: String(time),
    });
  }
}

function demandPurpose(delegate: Certificate): void {
  const { isAuthority, keyUsage, extendedKeyUsage = [], extensions } = delegate;
  const maySign = keyUsage === undefined || keyUsage.has(KeyUsage.digitalSignature);
  if (isAuthority || !maySign || !extendedKeyUsage.includes(OcspId.signing)) {
    throw refuse('a key for OCSP signing that is no authority', purposesOf(delegate));
  }
  const foreign = [...extensions].find(([name, { isCritical }]) => isCritical && !UNDERSTOOD.includes(name));
  if (foreign !== undefined) throw refuse('critical extensions that are understood', foreign[0]);
  // NVIDIA's older responders name id-pkix-ocsp-nocheck among the purposes, the newer ones as the extension that it is.
  if (extensions.has(OcspId.noCheck) || extendedKeyUsage.includes(OcspId.noCheck)) return;
  throw responderRefusals.error('ocsp-responder-revocable', {
    field: FIELD,
    expected: 'id-pkix-ocsp-nocheck',
    found: `none in the certificate ${toHex(delegate.serialNumber)}`,
  });
}

function purposesOf({ isAuthority, extendedKeyUsage = [] }: Certificate): string {
  if (isAuthority) return 'an authority';
  return extendedKeyUsage.length === 0 ? 'no purpose' : `the purposes ${extendedKeyUsage.join(', ')}`;
}

function refuse(expected: string, found: string): Error {
  return responderRefusals.error('ocsp-responder', { field: FIELD, expected, found });
}
