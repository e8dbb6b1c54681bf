/** Answers of an OCSP responder (RFC 6960) in the form of NVIDIA's: a delegate of each issuer signs for it. */

import { createHash } from 'node:crypto';

import { readCertificate } from '../../../attestation/core/x509.ts';
import { extension } from './certificate-parts.ts';
import * as der from './der-writer.ts';
import {
  certify,
  keyUsage,
  noAuthority,
  nvidiaName,
  SIGNATURE_USAGE,
  signed,
  type CertifiedKey,
} from './nvidia-certificates.ts';

export type SimulatedStatus = 'good' | 'revoked' | 'hold' | 'unknown';

/** What an answer says; by default that the certificate is good, for a day from the time of making. */
export interface AnswerOptions {
  readonly status?: SimulatedStatus;
  /** POSIX seconds. */
  readonly producedAt?: number;
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  /** Content of the nonce of the request, which the answer repeats. */
  readonly nonce?: Uint8Array;
}

const DAY_SECONDS = 86_400;
const RESPONDER_DAYS = 3 * 365;
/** Room for verifiers whose clock is a little behind. */
const CLOCK_SKEW_SECONDS = 3600;

/** reasonCode (RFC 5280 section 5.3.1). */
const Reason = { keyCompromise: 1, certificateHold: 6 } as const;

/** The responder to which one issuer left the answers about its certificates. */
export class SimulatedResponder {
  /** POSIX seconds. */
  private readonly madeAt: number;
  private readonly issuer: CertifiedKey;
  private readonly delegate: CertifiedKey;

  private constructor(madeAt: number, issuer: CertifiedKey, delegate: CertifiedKey) {
    this.madeAt = madeAt;
    this.issuer = issuer;
    this.delegate = delegate;
  }

  /** @param posixSeconds the present */
  static async create(issuer: CertifiedKey, posixSeconds: number): Promise<SimulatedResponder> {
    const delegate = await certify(
      {
        name: [
          ['CN', `NVIDIA OCSP Responder ${commonNameOf(issuer)}`],
          ['O', 'NVIDIA Corporation'],
          ['C', 'US'],
        ],
        notBefore: posixSeconds - CLOCK_SKEW_SECONDS,
        notAfter: posixSeconds + RESPONDER_DAYS * DAY_SECONDS,
        extensions: [noAuthority(), keyUsage(SIGNATURE_USAGE), ocspSigning(), noRevocationCheck()],
      },
      issuer,
    );
    return new SimulatedResponder(posixSeconds, issuer, delegate);
  }

  /** The status of a certificate of the issuer, whether or not it ever issued it: OCSPResponse, DER. */
  answer(certificate: Uint8Array, options: AnswerOptions = {}): Uint8Array {
    const thisUpdate = options.thisUpdate ?? this.madeAt - CLOCK_SKEW_SECONDS;
    const nextUpdate = options.nextUpdate ?? thisUpdate + DAY_SECONDS;
    const single = der.sequence(
      this.certificateId(readCertificate(certificate, 'certificate').serialNumber),
      statusOf(options.status ?? 'good', thisUpdate),
      der.generalizedTime(thisUpdate),
      der.explicit(0, der.generalizedTime(nextUpdate)),
    );
    const data = der.sequence(
      der.explicit(2, der.octetString(this.keyHash('sha1', this.delegate))),
      der.generalizedTime(options.producedAt ?? thisUpdate),
      der.sequence(single),
      ...(options.nonce === undefined ? [] : [der.explicit(1, der.sequence(nonceExtension(options.nonce)))]),
    );
    const certificates = der.explicit(0, der.sequence(der.encoded(this.delegate.certificate)));
    const basic = signed(data, this.delegate.key, certificates);
    const bytes = der.sequence(der.objectIdentifier('1.3.6.1.5.5.7.48.1.1'), der.octetString(basic));
    return der.toDer(der.sequence(der.enumerated(0), der.explicit(0, bytes)));
  }

  /** CertID with SHA-384, as NVIDIA's clients ask. */
  private certificateId(serialNumber: Uint8Array): der.DerValue {
    const nameHash = createHash('sha384')
      .update(der.toDer(nvidiaName(this.issuer.name)))
      .digest();
    return der.sequence(
      der.sequence(der.objectIdentifier('2.16.840.1.101.3.4.2.2'), der.nothing()),
      der.octetString(nameHash),
      der.octetString(this.keyHash('sha384', this.issuer)),
      der.largeInteger(serialNumber),
    );
  }

  /** Over the bits of the public key alone (RFC 6960 section 4.1.1). */
  private keyHash(algorithm: 'sha1' | 'sha384', { certificate }: CertifiedKey): Uint8Array {
    const { subjectPublicKeyInfo } = readCertificate(certificate, 'certificate');
    return createHash(algorithm).update(subjectPublicKeyInfo.subarray(-P384_POINT_BYTES)).digest();
  }
}

/** An uncompressed point, which ends SubjectPublicKeyInfo. */
const P384_POINT_BYTES = 97;

function commonNameOf({ name }: CertifiedKey): string {
  return name.find(([attribute]) => attribute === 'CN')?.[1] ?? '';
}

function ocspSigning(): der.DerValue {
  const purposes = der.sequence(der.objectIdentifier('1.3.6.1.5.5.7.3.9'));
  return extension('2.5.29.37', der.toDer(purposes), true);
}

/** id-pkix-ocsp-nocheck: nobody asks for the status of the responder's own certificate. */
function noRevocationCheck(): der.DerValue {
  return extension('1.3.6.1.5.5.7.48.1.5', der.toDer(der.nothing()));
}

function nonceExtension(nonce: Uint8Array): der.DerValue {
  return extension('1.3.6.1.5.5.7.48.1.2', der.toDer(der.octetString(nonce)));
}

function statusOf(status: SimulatedStatus, revokedAt: number): der.DerValue {
  if (status === 'good') return der.implicit(0, new Uint8Array());
  if (status === 'unknown') return der.implicit(2, new Uint8Array());
  const reason = status === 'hold' ? Reason.certificateHold : Reason.keyCompromise;
  return der.explicit(1, der.generalizedTime(revokedAt), der.explicit(0, der.enumerated(reason)));
}
