import { generateKeyPairSync } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';
import { beforeAll, describe, expect, it } from 'vitest';

import { toBase64, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { CertificateMemory } from '../../../../attestation/core/certificate-memory.ts';
import { isTrusted } from '../../../../attestation/core/trusted.ts';
import { authenticateRim } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import type { RimInputs } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import { readRim } from '../../../../attestation/nvidia-gpu/rim/document.ts';
import { publicKeyOf } from '../../../../src/agent/simulated/certificate-parts.ts';
import {
  AUTHORITY_USAGE,
  authority,
  certify,
  keyUsage,
  noAuthority,
  SIGNATURE_USAGE,
} from '../../../../src/agent/simulated/nvidia-certificates.ts';
import type { CertifiedKey } from '../../../../src/agent/simulated/nvidia-certificates.ts';
import { SimulatedResponder } from '../../../../src/agent/simulated/nvidia-ocsp.ts';
import type { SimulatedStatus } from '../../../../src/agent/simulated/nvidia-ocsp.ts';
import { authorityExtensions, signingUsage, writeCertificate } from '../../../support/certificate-writer.ts';
import { refusalCodeAsync } from '../../../support/refusal-code.ts';
import {
  anchorOf,
  digestOf,
  inputsOf,
  makeChain,
  manifestText,
  NOW,
  outcomeOf,
  signText,
} from './made-manifest.ts';
import type { SignerChain } from './made-manifest.ts';

const DAY = 86_400;
let chain: SignerChain;
let signed: string;
beforeAll(async () => {
  chain = await makeChain();
  signed = signText(manifestText(), chain);
});

const outcome = (edits: Partial<RimInputs> = {}): Promise<string> =>
  outcomeOf(signed, inputsOf(chain, edits));
const outcomeOfChain = (other: SignerChain): Promise<string> =>
  outcomeOf(signText(manifestText(), other), inputsOf(other));
const publicKeyDigest = ({ certificate }: CertifiedKey): Uint8Array => {
  const text = toHex(certificate);
  // SubjectPublicKeyInfo of P-384: 120 bytes that begin so.
  const at = text.indexOf('3076301006072a8648ce3d0201') / 2;
  return sha256(certificate.subarray(at, at + 120));
};

describe('authenticity of a manifest', () => {
  it('says what was verified, and only then that it is trusted', async () => {
    const claimed = readRim(toUtf8(signed));
    const rim = await authenticateRim(claimed, inputsOf(chain));
    expect(isTrusted(rim)).toBe(true);
    expect(isTrusted(claimed)).toBe(false);
    expect(rim).toMatchObject({ anchor: 'made root', simulated: true, signerNotBefore: NOW - 100 * DAY });
    expect(rim.signerNotAfter).toBe(NOW + 600 * DAY);
    expect(rim.manifest).toBe(claimed.manifest);
    expect(toHex(rim.contentDigest)).toBe(toHex(claimed.signature.digest));
    expect(rim.revocation.map(({ status }) => status)).toEqual(['missing', 'missing', 'missing']);
  });

  it('is the same with a memory, and again', async () => {
    const memory = new CertificateMemory();
    const verify = (text: string): Promise<string> =>
      refusalCodeAsync(async () =>
        authenticateRim(readRim(toUtf8(text), memory), inputsOf(chain, { memory })),
      );
    const forged = signed.replace(digestOf(7), digestOf(8));
    const unsigned = signed.replace(/(<ds:SignatureValue>)(.{64})(.{64})/, '$1$3$2');
    for (let i = 0; i < 2; i += 1) {
      expect(await verify(signed)).toBe('accepted');
      expect(await verify(forged)).toBe('rim-digest');
      expect(await verify(unsigned)).toBe('rim-signature');
    }
    expect(readRim(toUtf8(signed), memory)).toBe(readRim(toUtf8(signed), memory));
    const later = inputsOf(chain, { memory, time: NOW + 601 * DAY });
    expect(await refusalCodeAsync(async () => authenticateRim(readRim(toUtf8(signed), memory), later))).toBe(
      'path-validity',
    );
  });

  it('NR-13: only the first certificate counts', async () => {
    const [signer, lower, upper, root] = chain;
    const stranger = await certify(
      {
        name: [['CN', 'Stranger']],
        notBefore: NOW - DAY,
        notAfter: NOW + DAY,
        extensions: [noAuthority(), keyUsage(SIGNATURE_USAGE)],
      },
      lower,
    );
    // Signed by a certified key that is not the first: the certificate of another signer of NVIDIA's stands there.
    const bySigner = signText(manifestText(), chain);
    const firstOf = (text: string): string =>
      /<ds:X509Certificate>[^<]*<\/ds:X509Certificate>/.exec(text)?.[0] ?? '';
    const byStranger = signText(manifestText(), [stranger, lower, upper, root]);
    expect(await outcomeOf(bySigner.replace(firstOf(bySigner), firstOf(byStranger)), inputsOf(chain))).toBe(
      'rim-signature',
    );
    expect(await outcomeOf(byStranger, inputsOf(chain))).toBe('accepted');
    // Signed by an authority, whose own certificate stands there too.
    const asAuthority: CertifiedKey = { ...signer, key: lower.key };
    expect(
      await outcomeOf(signText(manifestText(), [asAuthority, lower, upper, root]), inputsOf(chain)),
    ).toBe('rim-signature');
  });

  it('NR-15: the root is an anchor for reference values, by certificate or key, and nothing else is', async () => {
    const root = chain[3];
    const byKey = {
      name: 'key',
      purpose: 'reference-values',
      publicKeyDigest: publicKeyDigest(root),
      simulated: false,
    } as const;
    expect(await outcome({ anchors: [byKey] })).toBe('accepted');
    expect(await outcome({ anchors: [] })).toBe('path-untrusted');
    const forDevices = { ...anchorOf(root), purpose: 'endorsements' } as const;
    const { purpose: _, ...withoutPurpose } = forDevices;
    expect(await outcome({ anchors: [forDevices] })).toBe('path-untrusted');
    expect(await outcome({ anchors: [withoutPurpose] })).toBe('path-untrusted');
    expect(await outcome({ anchors: [{ ...anchorOf(root), purpose: 'attestation-results' }] })).toBe(
      'path-untrusted',
    );
    // An authority below the root is no root: the chain would go on above its anchor.
    expect(await outcome({ anchors: [anchorOf(chain[2])] })).toBe('path-length');
    expect(await outcome({ anchors: [{ ...byKey, publicKeyDigest: publicKeyDigest(chain[1]) }] })).toBe(
      'path-length',
    );
  });

  it('NR-15: a hierarchy with the same names is not the hierarchy', async () => {
    const lookalike = await makeChain();
    const text = signText(manifestText(), lookalike);
    expect(await outcomeOf(text, inputsOf(chain))).toBe('path-untrusted');
    const realRoot = [...lookalike.slice(0, 3), chain[3]] as unknown as SignerChain;
    expect(await outcomeOf(signText(manifestText(), realRoot), inputsOf(chain))).toBe('path-signature');
  });

  it('NR-15: the order of the certificates is theirs', async () => {
    const [signer, lower, upper, root] = chain;
    for (const order of [
      [signer, upper, lower, root],
      [signer, root, upper, lower],
      [lower, signer, upper, root],
      [signer, lower, root, upper],
    ] as const) {
      expect(await outcomeOf(signText(manifestText(), order), inputsOf(chain))).toMatch(/^path-/);
    }
  });

  it.each([
    ['before the signer', -100 * DAY - 1, 'path-validity'],
    ['at its first second', -100 * DAY, 'accepted'],
    ['at its last second', 600 * DAY, 'accepted'],
    ['after the signer', 600 * DAY + 1, 'path-validity'],
    ['after the root', 900 * DAY + 1, 'path-validity'],
  ])('NR-15: %s', async (_, offset, expected) => {
    expect(await outcome({ time: NOW + offset })).toBe(expected);
  });

  it('NR-15: the root is judged itself', async () => {
    const [signer, lower, upper, root] = chain;
    const short = { name: root.name, notBefore: NOW - DAY, notAfter: NOW - 1 };
    // The same name and another key, signed by it: only a pin of that key could lead there.
    const expired = await certify({ ...short, extensions: [authority(), keyUsage(AUTHORITY_USAGE)] });
    const below = async (issuer: CertifiedKey): Promise<SignerChain> => {
      const times = { notBefore: NOW - DAY, notAfter: NOW + DAY };
      const issuing = [authority(), keyUsage(AUTHORITY_USAGE)];
      const ca = await certify({ name: upper.name, ...times, extensions: issuing }, issuer);
      const l3 = await certify({ name: lower.name, ...times, extensions: issuing }, ca);
      const extensions = [noAuthority(), keyUsage(SIGNATURE_USAGE)];
      return [await certify({ name: signer.name, ...times, extensions }, l3), l3, ca, issuer];
    };
    expect(await outcomeOfChain(await below(expired))).toBe('rim-root-validity');
    expect(await outcomeOfChain(await makeChain({ rootExtensions: [noAuthority()] }))).toBe('rim-root');
    const issued = await certify(
      { ...short, notAfter: NOW + DAY, extensions: [authority(), keyUsage(AUTHORITY_USAGE)] },
      root,
    );
    expect(await outcomeOfChain(await below(issued))).toBe('rim-root');
  });

  it('NR-16: authorities and signer have the uses of their places', async () => {
    const notIssuing = [authority(), keyUsage(SIGNATURE_USAGE)];
    expect(await outcomeOfChain(await makeChain({ lowerExtensions: notIssuing }))).toBe('path-authority');
    expect(
      await outcomeOfChain(await makeChain({ lowerExtensions: [noAuthority(), keyUsage(AUTHORITY_USAGE)] })),
    ).toBe('path-authority');
    for (const signerExtensions of [
      [authority(), keyUsage(SIGNATURE_USAGE)],
      [noAuthority(), keyUsage(AUTHORITY_USAGE)],
      [noAuthority(), keyUsage({ bits: SIGNATURE_USAGE.bits | AUTHORITY_USAGE.bits, unused: 1 })],
      [noAuthority()],
    ]) {
      expect(await outcomeOfChain(await makeChain({ signerExtensions }))).toBe('rim-signer-usage');
    }
  });

  it('NR-16: keys of another kind are refused, though the path holds', async () => {
    const { privateKey: key } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const names = ['Signer', 'L3', 'CA', 'Root'];
    const rsaChain = names.map((subject, i) => {
      const contents = {
        ...{ subject, issuer: names[i + 1] ?? subject, serialNumber: i + 1 },
        notBefore: new Date((NOW - DAY) * 1000),
        notAfter: new Date((NOW + DAY) * 1000),
        publicKey: publicKeyOf(key),
        extensions: i === 0 ? [signingUsage] : authorityExtensions(undefined),
      };
      return { key, certificate: writeCertificate(contents, key, 'rsa-pkcs1-sha256') };
    });
    const texts = rsaChain.map(
      ({ certificate }) => `<ds:X509Certificate>${toBase64(certificate)}</ds:X509Certificate>`,
    );
    const text = signed.replace(/<ds:X509Certificate>.*<\/ds:X509Certificate>/s, texts.join(''));
    const root = rsaChain.at(-1)?.certificate ?? new Uint8Array();
    const anchors = [
      { name: 'RSA', purpose: 'reference-values', certificate: root, simulated: true },
    ] as const;
    expect(await outcomeOf(text, inputsOf(chain, { anchors }))).toBe('rim-chain-algorithms');
  });

  it('NR-17: the root for debugging is refused, even as an anchor', async () => {
    expect(await outcomeOfChain(await makeChain({ rootName: 'NVIDIA CoRIM L1 Root CA Debug Only' }))).toBe(
      'rim-debug-root',
    );
  });

  it('NR-19: whether it is simulated follows from the anchor', async () => {
    const rim = await authenticateRim(
      readRim(toUtf8(signed)),
      inputsOf(chain, { anchors: [anchorOf(chain[3], false)] }),
    );
    expect(rim.simulated).toBe(false);
  });
});

describe('revocation of a manifest’s certificates', () => {
  let responders: readonly SimulatedResponder[];
  beforeAll(async () => {
    responders = await Promise.all(chain.slice(1).map((issuer) => SimulatedResponder.create(issuer, NOW)));
  });
  const collateralOf = (
    statuses: readonly (SimulatedStatus | undefined)[],
  ): ReadonlyMap<string, Uint8Array> => {
    const answers = new Map<string, Uint8Array>();
    for (const [i, status] of statuses.entries()) {
      const [subject, responder] = [chain[i], responders[i]];
      if (subject === undefined || responder === undefined || status === undefined) continue;
      answers.set(
        `ocsp:${toHex(sha256(subject.certificate))}`,
        responder.answer(subject.certificate, { status }),
      );
    }
    return answers;
  };
  const withAnswers = (
    statuses: readonly (SimulatedStatus | undefined)[],
    edits: Partial<RimInputs['revocation']> = {},
  ): Promise<string> => {
    const strict = { maxAgeSeconds: DAY, missing: 'refuse', hold: 'refuse' } as const;
    return outcome({ revocation: { collateral: collateralOf(statuses), ...strict, ...edits } });
  };

  it('NR-18: all three are good, or the manifest is refused', async () => {
    expect(await withAnswers(['good', 'good', 'good'])).toBe('accepted');
    expect(await withAnswers([])).toBe('ocsp-missing');
    for (const place of [0, 1, 2]) {
      const with_ = (status: SimulatedStatus | undefined): Promise<string> =>
        withAnswers([0, 1, 2].map((i) => (i === place ? status : 'good')));
      expect(await with_('revoked')).toBe('ocsp-revoked');
      expect(await with_('unknown')).toBe('ocsp-unknown');
      expect(await with_('hold')).toBe('ocsp-hold');
      expect(await with_(undefined)).toBe('ocsp-missing');
    }
  });

  it('NR-18: a policy may accept holds, and nothing else with them', async () => {
    expect(await withAnswers(['hold', 'good', 'good'], { hold: 'accept' })).toBe('accepted');
    expect(await withAnswers(['revoked', 'good', 'good'], { hold: 'accept' })).toBe('ocsp-revoked');
    expect(await withAnswers(['revoked', 'good', 'good'], { hold: 'accept', missing: 'accept' })).toBe(
      'ocsp-revoked',
    );
  });
});
