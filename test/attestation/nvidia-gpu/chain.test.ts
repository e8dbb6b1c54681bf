import { createPublicKey, generateKeyPairSync } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import type { TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { NVIDIA_AUTHORITIES, nvidiaAnchors } from '../../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { readPemChain } from '../../../attestation/nvidia-gpu/evidence.ts';
import { deviceIdentity } from '../../../attestation/nvidia-gpu/identity.ts';
import { verifyGpuReport } from '../../../attestation/nvidia-gpu/question.ts';
import type { ReportQuestion } from '../../../attestation/nvidia-gpu/question.ts';
import { extension } from '../../../src/agent/simulated/certificate-parts.ts';
import * as der from '../../../src/agent/simulated/der-writer.ts';
import {
  authority,
  AUTHORITY_USAGE,
  CERTIFICATE_USAGE,
  certify,
  keyUsage,
  NO_END,
  SIGNATURE_USAGE,
} from '../../../src/agent/simulated/nvidia-certificates.ts';
import { firmwareIdExtension } from '../../../src/agent/simulated/nvidia-firmware-id.ts';
import { gpuFields, gpuReport, signedReport } from '../../../src/agent/simulated/nvidia-report.ts';
import { authorityExtensions, writeCertificate } from '../../support/certificate-writer.ts';
import { deviceName, FIRMWARE_ID, MADE_AT, makeChain } from './device-chain.ts';
import type { ChainChanges, MadeChain } from './device-chain.ts';
import { nvidiaFile, nvidiaVectorsMissing, vectorDevice } from './vectors.ts';

const NONCE = new Uint8Array(32).fill(7);
const REPORT = gpuReport('GH100', gpuFields('GH100', FIRMWARE_ID));

function anchorOf(root: Uint8Array, changes: Partial<TrustAnchor> = {}): TrustAnchor {
  const { subjectPublicKeyInfo } = readCertificate(root, 'root');
  const anchor = { name: 'a root', publicKeyDigest: sha256(subjectPublicKeyInfo), simulated: false };
  return { ...anchor, ...changes };
}

/** The code of the first refusal, or `inspected`: nothing but authenticity is judged. */
async function code(
  { certificates, leafKey, root }: MadeChain,
  changes: Partial<ReportQuestion> = {},
): Promise<string> {
  const answer = await verifyGpuReport({
    kind: 'gpu',
    report: signedReport(REPORT, NONCE, leafKey),
    certificates,
    expectedNonce: NONCE,
    architectureLabel: undefined,
    anchors: [anchorOf(root)],
    collateral: new Map(),
    time: MADE_AT + 1,
    appraisal: undefined,
    ...changes,
  });
  return answer.outcome === 'refused' ? answer.refusals[0].code : answer.outcome;
}

async function codeOf(changes: ChainChanges, question: Partial<ReportQuestion> = {}): Promise<string> {
  return await code(await makeChain(changes), question);
}

describe('chains of devices', () => {
  let good: MadeChain;

  beforeAll(async () => {
    good = await makeChain();
  });

  it('NG-19: five certificates in order are accepted', async () => {
    expect(await code(good)).toBe('inspected');
  });

  it('NG-19: any other number is refused', async () => {
    const { certificates } = good;
    for (let i = 0; i < 5; i += 1) {
      expect(await code({ ...good, certificates: certificates.toSpliced(i, 1) })).toBe('gpu-chain-length');
    }
    const [root] = certificates.slice(-1);
    expect(await code({ ...good, certificates: [...certificates, root!] })).toBe('gpu-chain-length');
    expect(await code({ ...good, certificates: [] })).toBe('gpu-chain-length');
  });

  it('NG-19: any other order is refused', async () => {
    const { certificates } = good;
    for (let i = 0; i < 4; i += 1) {
      const swapped = certificates.with(i, certificates[i + 1]!).with(i + 1, certificates[i]!);
      expect([i, await code({ ...good, certificates: swapped })]).not.toEqual([i, 'inspected']);
    }
    expect(await code({ ...good, certificates: certificates.toReversed() })).toMatch(/^path-/);
  });

  it('NG-19: a certificate of another chain in any place is refused', async () => {
    const other = await makeChain();
    for (let i = 0; i < 5; i += 1) {
      const certificates = good.certificates.with(i, other.certificates[i]!);
      expect([i, await code({ ...good, certificates })]).toEqual([i, expect.stringMatching(/^path-/)]);
    }
  });

  it('NG-20: the root is known by its key, and only as a root of devices', async () => {
    const other = await makeChain();
    expect(await code(good, { anchors: [anchorOf(other.root)] })).toBe('path-untrusted');
    expect(await code(good, { anchors: [] })).toBe('path-untrusted');
    expect(await code(good, { anchors: [anchorOf(good.root, { purpose: 'endorsements' })] })).toBe(
      'inspected',
    );
    for (const purpose of ['reference-values', 'attestation-results'] as const) {
      expect(await code(good, { anchors: [anchorOf(good.root, { purpose })] })).toBe('path-untrusted');
    }
  });

  it('NG-20: the chain goes up to the root even where the root is given', async () => {
    const certificate = { name: 'a root', certificate: good.root, simulated: false };
    expect(await code(good, { anchors: [certificate] })).toBe('inspected');
    const cut = good.certificates.slice(0, 4);
    expect(await code({ ...good, certificates: cut }, { anchors: [certificate] })).toBe('gpu-chain-length');
    // An authority in the middle as an anchor: the path ends there, and certificates are left over.
    for (const i of [2, 3]) {
      const middle = { name: 'middle', certificate: good.certificates[i]!, simulated: false };
      expect(await code(good, { anchors: [middle] })).toBe('path-length');
    }
  });

  it('NG-19: NG-20: the fifth certificate is the root itself, and not one below it', async () => {
    const name = [['CN', 'Above']] as const;
    const request = {
      notBefore: MADE_AT,
      notAfter: NO_END,
      extensions: [authority(), keyUsage(AUTHORITY_USAGE)],
    };
    const above = await certify({ ...request, name });
    const madeRoot = await certify({ ...request, name: [['CN', 'A root of devices']] }, above);
    const anchors = [{ name: 'above', certificate: above.certificate, simulated: false }];
    expect(await codeOf({ madeRoot }, { anchors })).toBe('gpu-root');
  });

  it.each(['identity', 'provisioner', 'bootRom'] as const)('NG-19: %s is an authority', async (level) => {
    const serial = level === 'bootRom' ? { serialNumber: Uint8Array.of(0x41, 1, 2, 3, 4, 5, 6, 7, 8) } : {};
    const noAuthority = { ...serial, extensions: [keyUsage(CERTIFICATE_USAGE)] };
    expect(await codeOf({ [level]: noAuthority })).toBe('path-authority');
    const noSigning = { ...serial, extensions: [authority(), keyUsage(SIGNATURE_USAGE)] };
    expect(await codeOf({ [level]: noSigning })).toBe('path-authority');
    const short = { ...serial, extensions: [authority(0), keyUsage(AUTHORITY_USAGE)] };
    expect(await codeOf({ [level]: short })).toBe(level === 'bootRom' ? 'inspected' : 'path-length');
    const unknown = extension('1.2.3.4', Uint8Array.of(5, 0), true);
    const critical = { ...serial, extensions: [authority(), keyUsage(AUTHORITY_USAGE), unknown] };
    expect(await codeOf({ [level]: critical })).toBe('path-critical-extension');
  });

  it('NG-19: the root is signed by its own key: the pin covers the key alone', async () => {
    const root = good.certificates[4]!;
    const forged = root.with(root.length - 1, root.at(-1)! ^ 1);
    expect(await code({ ...good, certificates: good.certificates.with(4, forged) })).toBe('gpu-root');
  });

  it('NG-19: the root is an authority', async () => {
    expect(await codeOf({ root: { extensions: [keyUsage(AUTHORITY_USAGE)] } })).toBe('gpu-root');
    expect(await codeOf({ root: { extensions: [authority(), keyUsage(SIGNATURE_USAGE)] } })).toBe('gpu-root');
  });

  it('NG-19: the leaf signs and does nothing else', async () => {
    const usage = async (...extensions: der.DerValue[]): Promise<string> =>
      await codeOf({ leaf: { extensions } });
    expect(await usage(keyUsage(AUTHORITY_USAGE))).toBe('gpu-leaf-usage');
    expect(await usage(keyUsage({ bits: 0x84, unused: 2 }))).toBe('gpu-leaf-usage');
    expect(await usage(authority(), keyUsage(SIGNATURE_USAGE))).toBe('gpu-leaf-usage');
    expect(await usage(extension('1.2.3.4', Uint8Array.of(5, 0)))).toBe('gpu-leaf-usage');
  });

  it.each(['root', 'identity', 'provisioner'] as const)('NG-21: %s is valid at the time', async (level) => {
    const expired = level === 'root' ? 'gpu-root-validity' : 'path-validity';
    const chain = await makeChain({ [level]: { notBefore: MADE_AT + 10, notAfter: MADE_AT + 20 } });
    expect(await code(chain, { time: MADE_AT + 9 })).toBe(expired);
    expect(await code(chain, { time: MADE_AT + 10 })).toBe('inspected');
    expect(await code(chain, { time: MADE_AT + 20 })).toBe('inspected');
    expect(await code(chain, { time: MADE_AT + 21 })).toBe(expired);
  });

  it('NG-21: the last second of the year 9999 is read as it is', async () => {
    expect(await code(good, { time: NO_END })).toBe('inspected');
    expect(await code(good, { time: NO_END + 1 })).toBe('path-validity');
    expect(await code(good, { time: MADE_AT - 1 })).toBe('path-validity');
  });

  it('NG-22: an RSA root is refused, though all signatures hold', async () => {
    const keys = generateKeyPairSync('rsa', { modulusLength: 3072 });
    const publicKey = new Uint8Array(
      createPublicKey(keys.privateKey).export({ type: 'spki', format: 'der' }),
    );
    const contents = {
      ...{ issuer: 'An RSA root', subject: 'An RSA root', serialNumber: 1, publicKey },
      ...{ notBefore: new Date(MADE_AT * 1000), notAfter: new Date((MADE_AT + 1e6) * 1000) },
      extensions: authorityExtensions(undefined),
    };
    const certificate = writeCertificate(contents, keys.privateKey, 'rsa-pkcs1-sha256');
    // The simulated authorities sign with ECDSA alone, so that the certificate below this root is made here.
    const chain = await makeChain();
    const identity = readCertificate(chain.certificates[3]!, 'identity');
    const below = { ...contents, subject: 'An identity', publicKey: identity.subjectPublicKeyInfo };
    const reissued = writeCertificate(below, keys.privateKey, 'rsa-pkcs1-sha256');
    const certificates = chain.certificates.with(3, reissued).with(4, certificate);
    expect(await code({ ...chain, certificates, root: certificate })).toBe('gpu-chain-algorithms');
  });
});

describe('devices', () => {
  it('NG-24: a family that is not known is refused', async () => {
    for (const name of ['GR100 A01 GSP', 'GB300 A01 GSP', 'AD102 A01 GSP']) {
      expect(await codeOf({ deviceName: name })).toBe('gpu-chip-unknown');
    }
  });

  it('NG-24: the security processor and a switch are no GPU', async () => {
    expect(await codeOf({ deviceName: 'GH100 A01 FSP' })).toBe('gpu-device-role');
    expect(await codeOf({ deviceName: 'LS_10 A01 FSP' })).toBe('gpu-device-role');
    expect(await codeOf({ deviceName: 'LS_10 A01 GSP' })).toBe('gpu-device-role');
    expect(await codeOf({ deviceName: 'GH100 A01 SEC' })).toBe('gpu-device-role');
  });

  it('NG-23: leaf and boot ROM are of one device', async () => {
    expect(await codeOf({ leafName: 'GH100 A02 GSP' })).toBe('gpu-device-names');
    expect(await codeOf({ deviceName: 'GH100 A02 GSP' })).toBe('inspected');
    expect(await codeOf({ deviceName: 'GH100 A01 FSP', leafName: 'GH100 A01 GSP' })).toBe('gpu-device-names');
    expect(await codeOf({ deviceInfo: 'NVIDIA:GB100:48B02D0000000001' })).toBe('gpu-certificate-extension');
    expect(await codeOf({ deviceInfo: 'OTHER:GH100:48B02D0000000001' })).toBe('gpu-certificate-extension');
    expect(await codeOf({ leaf: { extensions: [keyUsage(SIGNATURE_USAGE)] } })).toBe(
      'gpu-certificate-extension',
    );
  });

  it('NG-23: the serial number stands in the name as well', async () => {
    const serialNumber = Uint8Array.of(0x41, 1, 2, 3, 4, 5, 6, 7, 8);
    const brom = (number: Uint8Array, named: Uint8Array = number): ChainChanges => ({
      bootRom: { name: deviceName(named, 'GH100 A01 GSP BROM'), serialNumber: number },
    });
    expect(await codeOf(brom(serialNumber, serialNumber.with(8, 9)))).toBe('gpu-certificate-name');
    expect(await codeOf(brom(serialNumber.subarray(0, 8)))).toBe('gpu-certificate-name');
    expect(await codeOf(brom(Uint8Array.of(...serialNumber, 9)))).toBe('gpu-certificate-name');
    // 40 is the security processor's, 50 a switch's.
    for (const prefix of [0x40, 0x50]) {
      expect(await codeOf(brom(serialNumber.with(0, prefix)))).toBe('gpu-device-names');
    }
  });

  it.each(['GH100 A01 GSP BROM', 'GH100 A01 GSP', 'NVIDIA GH100 Identity', 'gh100 A01 GSP FMC LF'])(
    'NG-23: the name "%s" is none of a leaf',
    async (name) => {
      const serialNumber = new Uint8Array(20).fill(0x55);
      expect(await codeOf({ leaf: { name: deviceName(serialNumber, name) } })).toBe('gpu-certificate-name');
    },
  );

  it('NG-27: the leaf names the key of the boot ROM', async () => {
    const other = await makeChain();
    const firmware = firmwareIdExtension('composite-device-id', {
      ...{ firmwareId: FIRMWARE_ID, engineName: 'GSP', isDebug: false },
      deviceKey: readCertificate(other.certificates[1]!, 'x').subjectPublicKeyInfo,
    });
    expect(await codeOf({ firmware })).toBe('gpu-device-key');
  });

  it('NG-26: the firmware is named in full, in the form of the family', async () => {
    const key = der.encoded(readCertificate((await makeChain()).certificates[1]!, 'x').subjectPublicKeyInfo);
    const fwid = (algorithm: string, digest: Uint8Array): der.DerValue =>
      der.sequence(der.objectIdentifier(algorithm), der.octetString(digest));
    const sha384 = fwid('2.16.840.1.101.3.4.2.2', FIRMWARE_ID);
    const composite = async (...members: der.DerValue[]): Promise<string> =>
      await codeOf({ firmware: extension('2.23.133.5.4.1', der.toDer(der.sequence(...members))) });
    expect(await composite(der.integer(2), key, sha384)).toBe('gpu-certificate-extension');
    expect(await composite(der.integer(1), key)).toBe('der-truncated');
    expect(await composite(der.integer(1), key, sha384, sha384)).toBe('der-trailing');
    const sha256Fwid = fwid('2.16.840.1.101.3.4.2.1', FIRMWARE_ID);
    expect(await composite(der.integer(1), key, sha256Fwid)).toBe('gpu-certificate-extension');
    const short = fwid('2.16.840.1.101.3.4.2.2', FIRMWARE_ID.subarray(1));
    expect(await composite(der.integer(1), key, short)).toBe('gpu-certificate-extension');
    const ofBlackwell = firmwareIdExtension('tcb-info', {
      ...{ firmwareId: FIRMWARE_ID, engineName: 'GH100 A01 GSP', isDebug: false },
      deviceKey: new Uint8Array(0),
    });
    expect(await codeOf({ firmware: ofBlackwell })).toBe('gpu-certificate-extension');
  });
});

describe('identity', () => {
  it('NG-14: is that of the boot ROM, and not of the leaf', async () => {
    const { bootRom } = await makeChain();
    const certificate = readCertificate(bootRom.certificate, 'brom');
    const identity = deviceIdentity(certificate);
    expect(identity).toHaveLength(32);
    expect(deviceIdentity({ ...certificate, serialNumber: new Uint8Array(9) })).not.toEqual(identity);
    expect(deviceIdentity({ ...certificate, subjectPublicKeyInfo: new Uint8Array(9) })).not.toEqual(identity);
  });
});

describe.skipIf(nvidiaVectorsMissing !== undefined)(`NVIDIA's chains ${nvidiaVectorsMissing ?? ''}`, () => {
  it('NG-20: the pins are those of the published roots', () => {
    const files = ['device-identity-root', 'rim-root', 'nras-gpu-intermediate-004'];
    NVIDIA_AUTHORITIES.forEach(({ publicKeyDigest, certificateDigest, notBefore, notAfter }, i) => {
      const [encoded] = readPemChain(nvidiaFile(`roots/${files[i]}.pem`), 'root');
      const certificate = readCertificate(encoded!, 'root');
      expect(toHex(sha256(certificate.subjectPublicKeyInfo))).toBe(publicKeyDigest);
      expect(toHex(sha256(encoded!))).toBe(certificateDigest);
      expect([certificate.notBefore, certificate.notAfter].map((time) => time * 1000)).toEqual(
        [notBefore, notAfter].map((time) => Date.parse(time)),
      );
    });
    expect(nvidiaAnchors.map(({ purpose }) => purpose)).toEqual([
      'endorsements',
      'reference-values',
      'attestation-results',
    ]);
    expect(nvidiaAnchors.every(({ simulated }) => !simulated)).toBe(true);
  });

  it('NG-13: PEM of the tools is read, and anything between the blocks is refused', () => {
    const { chain } = vectorDevice('h100-550.90.07');
    const text = Buffer.from(chain!).toString('latin1');
    const read = (pem: string): number => readPemChain(Buffer.from(pem, 'latin1'), 'chain').length;
    expect(read(text)).toBe(5);
    expect(read(`${text}\n\0\0`)).toBe(5);
    expect(read(text.replaceAll('\n', '\r\n'))).toBe(5);
    for (const bad of [`x${text}`, `${text}\nx`, text.replace('-\n', '-\n\n'), text.slice(0, -1)]) {
      expect(() => read(bad)).toThrow(/pem-malformed|base64-malformed/);
    }
    expect(() => read(text.repeat(2))).toThrow(/gpu-chain-size/);
  });

  it('W11: NG-13: arbitrary text is certificates or a refusal', () => {
    const line = fc.constantFrom(
      '-----BEGIN CERTIFICATE-----',
      '-----END CERTIFICATE-----',
      'AAAA',
      '',
      '\0',
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        try {
          readPemChain(Buffer.from(lines.join('\n')), 'chain');
        } catch (error) {
          expect(error).toMatchObject({ name: 'RefusalError', family: 'malformed' });
        }
      }),
      { numRuns: 200 },
    );
  });
});
