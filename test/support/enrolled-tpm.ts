/**
 * A TPM in software that can be enrolled: an endorsement key with a certificate of a vendor made for the test, and
 * TPM2_ActivateCredential written again from TPM 2.0 Part 1, section 24, on node:crypto.
 */

import { createDecipheriv, privateDecrypt } from 'node:crypto';

import forge from 'node-forge';

import { toHex } from '../../attestation/core/bytes.ts';
import { decode, encode } from '../../attestation/core/layout.ts';
import { readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { kdfA } from '../../attestation/tpm/kdf.ts';
import { Algorithm, digestSized, identityObject, publicArea } from '../../attestation/tpm/layout.ts';
import type { MeasurementLogs } from '../../attestation/tpm/evidence.ts';
import type { DeviceAttester, DeviceRequest } from '../../src/agent/evidence.ts';
import type { EnrollingTpm } from '../../src/agent/key-release.ts';
import type { BootedMachine } from './boot.ts';
import {
  issueCertificate,
  makeAuthority,
  rsaKeys,
  tpmNameExtension,
  tpmSpecificationExtension,
} from './certificates.ts';
import { makeSoftwareAttester, type SoftwareAttester } from './software-attester.ts';

export interface EnrollableTpm {
  readonly enrolling: EnrollingTpm;
  readonly attester: DeviceAttester;
  readonly software: SoftwareAttester;
  /** What the lab's accreditation has to name: lower-case hex SHA-256. */
  readonly endorsementKeyDigest: string;
  /** PEM of the vendor's authority. */
  readonly vendorCertificate: string;
  /** Changes what the next quotes say of the clock. */
  clock: { clock: bigint; resetCount: number; restartCount: number; safe: number };
}

const VENDOR = 'Test TPM vendor';

/**
 * @param name tells the keys of several TPMs apart
 * @param machine what its registers hold, and the logs of that
 */
export async function makeEnrollableTpm(name = 'rack-1', machine?: BootedMachine): Promise<EnrollableTpm> {
  const software = await makeSoftwareAttester('ecc-p256', machine?.registers);
  const keys = rsaKeys(`endorsement key of ${name}`);
  const authority = makeAuthority(VENDOR);
  const certificate = issueCertificate(authority, { subject: '', keys, extensions: ENDORSEMENT_EXTENSIONS });
  const { subjectPublicKeyInfo } = readCertificate(certificate, 'certificate');
  readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'certificate.publicKey');
  const tpm: EnrollableTpm = {
    enrolling: {
      endorsementCertificate: certificate,
      attestationKey: encode(publicArea, software.publicArea, 'publicArea'),
      attestationKeyName: software.name,
      activate: (blob, secret) => Promise.resolve(activate(keys, software.name, blob, secret)),
    },
    attester: {
      deviceClass: 'tpm',
      bindsCompanions: false,
      identity: sha256(software.name),
      collect: (request, deviceValue) => {
        const clockInfo = { ...tpm.clock };
        tpm.clock.clock += 1000n;
        const statement = software.quote({ extraData: deviceValue, clockInfo });
        return software.evidence(statement, logsFor(request, machine));
      },
    },
    software,
    endorsementKeyDigest: toHex(sha256(subjectPublicKeyInfo)),
    vendorCertificate: forge.pem.encode({
      type: 'CERTIFICATE',
      body: Buffer.from(authority.der).toString('binary'),
    }),
    clock: { clock: 5000n, resetCount: 7, restartCount: 1, safe: 1 },
  };
  return tpm;
}

/** The logs that a challenge asks for. */
function logsFor(request: DeviceRequest, machine: BootedMachine | undefined): Partial<MeasurementLogs> {
  if (request.class !== 'tpm' || machine === undefined) return {};
  const { eventLog, imaList, agentLog } = machine.logs;
  return {
    eventLog: request.eventLog ? eventLog : null,
    imaList: request.imaList ? imaList : null,
    agentLog: request.agentPcr === null ? null : agentLog,
  };
}

const ENDORSEMENT_EXTENSIONS = [
  { name: 'basicConstraints', critical: true, cA: false },
  { name: 'keyUsage', critical: true, keyEncipherment: true },
  { name: 'extKeyUsage', '2.23.133.8.1': true },
  tpmNameExtension({ '2.23.133.2.1': 'id:00001014', '2.23.133.2.2': 'software', '2.23.133.2.3': 'id:1' }),
  tpmSpecificationExtension('2.0'),
];

function activate(
  keys: forge.pki.rsa.KeyPair,
  name: Uint8Array,
  credentialBlob: Uint8Array,
  encryptedSecret: Uint8Array,
): Uint8Array {
  const key = forge.pki.privateKeyToPem(keys.privateKey);
  const seed = privateDecrypt(
    { key, oaepHash: 'sha256', oaepLabel: Buffer.from('IDENTITY\0') },
    encryptedSecret,
  );
  const { encryptedIdentity } = decode(identityObject, credentialBlob, 'credentialBlob');
  const storageKey = kdfA(tpmHash(Algorithm.sha256, 'hash'), seed, 'STORAGE', name, new Uint8Array(0), 128);
  const decipher = createDecipheriv('aes-128-cfb', storageKey, Buffer.alloc(16));
  return decode(digestSized, decipher.update(encryptedIdentity), 'credential');
}
