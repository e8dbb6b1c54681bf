/** OCSP answers and their responders, each part of which a test can make wrong. */

import { createHash } from 'node:crypto';

import { readCertificate } from '../../attestation/core/x509.ts';
import { extension } from '../../src/agent/simulated/certificate-parts.ts';
import * as der from '../../src/agent/simulated/der-writer.ts';
import {
  certify,
  keyUsage,
  nvidiaName,
  SIGNATURE_USAGE,
  signed,
  type CertifiedKey,
} from '../../src/agent/simulated/nvidia-certificates.ts';

const DAY_SECONDS = 86_400;
const OCSP_SIGNING = '1.3.6.1.5.5.7.3.9';
const NO_CHECK = '1.3.6.1.5.5.7.48.1.5';

export interface ResponderOptions {
  /** Extended key usages; OCSP signing by default. */
  readonly purposes?: readonly string[];
  /** Besides the purposes; a key usage for signing and id-pkix-ocsp-nocheck by default. */
  readonly extensions?: readonly der.DerValue[];
  /** POSIX seconds; from an hour before the time to a day after it by default. */
  readonly notBefore?: number;
  readonly notAfter?: number;
}

export const noCheck = (): der.DerValue => extension(NO_CHECK, der.toDer(der.nothing()));
export const signingUsage = (): der.DerValue => keyUsage(SIGNATURE_USAGE);
export const purposesOf = (...purposes: readonly string[]): der.DerValue =>
  extension('2.5.29.37', der.toDer(der.sequence(...purposes.map(der.objectIdentifier))), true);

/** A certificate for answering, from the issuer. @param time POSIX seconds */
export function certifyResponder(
  issuer: CertifiedKey,
  time: number,
  options: ResponderOptions = {},
): Promise<CertifiedKey> {
  const { purposes = [OCSP_SIGNING], extensions = [signingUsage(), noCheck()] } = options;
  return certify(
    {
      name: [['CN', 'Responder']],
      notBefore: options.notBefore ?? time - 3600,
      notAfter: options.notAfter ?? time + DAY_SECONDS,
      extensions: [...(purposes.length === 0 ? [] : [purposesOf(...purposes)]), ...extensions],
    },
    issuer,
  );
}

export interface AnswerParts {
  /** Of the certificate in question. */
  readonly issuer: CertifiedKey;
  readonly serialNumber: Uint8Array;
  readonly responder: CertifiedKey;
  /** POSIX seconds; an hour before the time of verification is usual. */
  readonly thisUpdate: number;
  readonly producedAt?: number;
  /** `null` leaves it out. */
  readonly nextUpdate?: number | null;
  readonly status?: der.DerValue;
  readonly responderId?: der.DerValue;
  /** Certificates in the answer; that of the responder by default. */
  readonly certificates?: readonly CertifiedKey[];
  readonly responseExtensions?: readonly der.DerValue[];
  readonly hashAlgorithm?: string;
  /** How many times the one response stands there. */
  readonly times?: number;
}

export const good = (): der.DerValue => der.implicit(0, new Uint8Array());
export const unknown = (): der.DerValue => der.implicit(2, new Uint8Array());
export const revoked = (at: number, reason?: number): der.DerValue =>
  der.explicit(
    1,
    der.generalizedTime(at),
    ...(reason === undefined ? [] : [der.explicit(0, der.enumerated(reason))]),
  );

export const nonceExtension = (nonce: Uint8Array): der.DerValue =>
  extension('1.3.6.1.5.5.7.48.1.2', der.toDer(der.octetString(nonce)));

export const byName = ({ name }: CertifiedKey): der.DerValue => der.explicit(1, nvidiaName(name));
export const byKey = (key: CertifiedKey): der.DerValue =>
  der.explicit(2, der.octetString(keyHash('sha1', key)));

/** OCSPResponse, DER. */
export function writeAnswer(parts: AnswerParts): Uint8Array<ArrayBuffer> {
  const { responder, thisUpdate, certificates = [responder], responseExtensions = [] } = parts;
  const single = singleResponse(parts);
  const data = der.sequence(
    parts.responderId ?? byKey(responder),
    der.generalizedTime(parts.producedAt ?? thisUpdate),
    der.sequence(...Array.from({ length: parts.times ?? 1 }, () => single)),
    ...(responseExtensions.length === 0 ? [] : [der.explicit(1, der.sequence(...responseExtensions))]),
  );
  const certs = der.explicit(0, der.sequence(...certificates.map((one) => der.encoded(one.certificate))));
  const basic = signed(data, responder.key, ...(certificates.length === 0 ? [] : [certs]));
  return wrapAnswer(basic);
}

/** Around a BasicOCSPResponse. */
export function wrapAnswer(basic: Uint8Array, type = '1.3.6.1.5.5.7.48.1.1'): Uint8Array<ArrayBuffer> {
  const bytes = der.sequence(der.objectIdentifier(type), der.octetString(basic));
  return der.toDer(der.sequence(der.enumerated(0), der.explicit(0, bytes)));
}

function singleResponse(parts: AnswerParts): der.DerValue {
  const { issuer, serialNumber, thisUpdate, nextUpdate = thisUpdate + DAY_SECONDS } = parts;
  const nameHash = createHash('sha384')
    .update(der.toDer(nvidiaName(issuer.name)))
    .digest();
  const algorithm = der.objectIdentifier(parts.hashAlgorithm ?? '2.16.840.1.101.3.4.2.2');
  return der.sequence(
    der.sequence(
      der.sequence(algorithm, der.nothing()),
      der.octetString(nameHash),
      der.octetString(keyHash('sha384', issuer)),
      der.largeInteger(serialNumber),
    ),
    parts.status ?? good(),
    der.generalizedTime(thisUpdate),
    ...(nextUpdate === null ? [] : [der.explicit(0, der.generalizedTime(nextUpdate))]),
  );
}

/** An uncompressed point on P-384, which ends SubjectPublicKeyInfo. */
const POINT_BYTES = 97;

function keyHash(algorithm: 'sha1' | 'sha384', { certificate }: CertifiedKey): Uint8Array {
  const { subjectPublicKeyInfo } = readCertificate(certificate, 'certificate');
  return createHash(algorithm).update(subjectPublicKeyInfo.subarray(-POINT_BYTES)).digest();
}
