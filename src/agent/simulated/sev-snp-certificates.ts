/** Certificates and revocation lists in the form of AMD 57230: names, signature algorithm and frame. */

import { constants, sign, type KeyObject } from 'node:crypto';

import * as der from './der-writer.ts';

/** RSASSA-PSS with SHA-384 throughout and a salt of 48 bytes (RFC 4055). */
export function pssAlgorithm(): der.DerValue {
  const sha384 = (): der.DerValue =>
    der.sequence(der.objectIdentifier('2.16.840.1.101.3.4.2.2'), der.nothing());
  const mask = der.sequence(der.objectIdentifier('1.2.840.113549.1.1.8'), sha384());
  const parameters = der.sequence(
    der.explicit(0, sha384()),
    der.explicit(1, mask),
    der.explicit(2, der.integer(48)),
  );
  return der.sequence(der.objectIdentifier('1.2.840.113549.1.1.10'), parameters);
}

/** The name that all of AMD's certificates have, but for its last part. */
export function nameOf(commonName: string): der.DerValue {
  const part = (identifier: string, text: der.DerValue): der.DerValue =>
    der.set(der.sequence(der.objectIdentifier(identifier), text));
  return der.sequence(
    part('2.5.4.11', der.utf8Text('Engineering')),
    part('2.5.4.6', der.printableText('US')),
    part('2.5.4.7', der.utf8Text('Santa Clara')),
    part('2.5.4.8', der.utf8Text('CA')),
    part('2.5.4.10', der.utf8Text('Advanced Micro Devices')),
    part('2.5.4.3', der.utf8Text(commonName)),
  );
}

interface CertificateMembers {
  readonly serial: number;
  /** Common names. */
  readonly issuer: string;
  readonly subject: string;
  /** POSIX seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly extensions: readonly der.DerValue[];
  readonly signer: KeyObject;
}

export function certificateOf(members: CertificateMembers): Uint8Array {
  const { serial, issuer, subject, notBefore, notAfter, publicKey, extensions, signer } = members;
  const tbs = der.sequence(
    der.explicit(0, der.integer(2)),
    der.integer(serial),
    pssAlgorithm(),
    nameOf(issuer),
    der.sequence(der.utcTime(notBefore), der.utcTime(notAfter)),
    nameOf(subject),
    der.encoded(publicKey),
    der.explicit(3, der.sequence(...extensions)),
  );
  return signed(tbs, signer);
}

/** Certificates and revocation lists have the same frame. */
export function signed(tbs: der.DerValue, key: KeyObject): Uint8Array {
  const signature = sign('sha384', der.toDer(tbs), {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: 48,
  });
  return der.toDer(der.sequence(tbs, pssAlgorithm(), der.bitString(signature)));
}
