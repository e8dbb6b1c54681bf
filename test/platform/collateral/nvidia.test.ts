import { readFile, utimes, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';

import { beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { nvidiaGpuDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import { readGpuEvidence, type GpuEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import { readRim } from '../../../attestation/nvidia-gpu/rim/document.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../../src/agent/simulated/nvidia-device.ts';
import { SimulatedManifestIssuer } from '../../../src/agent/simulated/nvidia-manifest-issuer.ts';
import type { SimulatedVendor } from '../../../src/agent/simulated/nvidia-vendor.ts';
import { DirectoryStore } from '../../../src/platform/collateral/directory-store.ts';
import { KeptCollateral, type Keeping } from '../../../src/platform/collateral/kept-collateral.ts';
import { nvidiaCollateralCheck } from '../../../src/platform/collateral/nvidia-check.ts';
import {
  answersAbout,
  gatherNvidiaCollateral,
  manifestsOf,
} from '../../../src/platform/collateral/nvidia-collateral.ts';
import type { NvidiaItem, OcspItem, RimItem } from '../../../src/platform/collateral/nvidia-items.ts';
import { NvidiaServices } from '../../../src/platform/collateral/nvidia-services.ts';
import { collateralName, type CollateralSource } from '../../../src/platform/collateral/source.ts';
import { respond, startKeyServer, type KeyHandler, type KeyServer } from '../../support/key-server.ts';
import { keySet, NRAS_TIME, NrasSigner } from '../../support/nras-service.ts';
import { nvidiaHandler, wrapManifest } from '../../support/nvidia-services.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { evidenceOf, inputsFor, SIMULATED_AT, simulatedNvidia } from '../../support/simulated-gpu.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const DAY = 86_400;
const NONCE = new Uint8Array(32).fill(3);

let vendor: SimulatedVendor;
let device: SimulatedNvidiaDevice;
let evidence: GpuEvidence;
let manifests: ReadonlyMap<string, Uint8Array>;
let driver: RimItem;
let vbios: RimItem;
let driverManifest: Uint8Array;
beforeAll(async () => {
  vendor = await simulatedNvidia();
  device = await makeGpu(vendor.devices, { chip: 'GH100' });
  evidence = readGpuEvidence(await evidenceOf(device, NONCE), 'evidence');
  manifests = vendor.manifestsFor(device);
  const [first, second] = manifestsOf(evidence);
  if (first === undefined || second === undefined) throw new Error('no manifests');
  [driver, vbios] = [first, second];
  driverManifest = manifests.get(`rim:${driver.identifier}`) ?? new Uint8Array();
}, 60_000);

let store: DirectoryStore;
beforeEach(async () => {
  store = new DirectoryStore(join(await temporaryFolder(), 'collateral'));
});

interface Setting {
  readonly upstream?: CollateralSource<NvidiaItem>;
  /** POSIX seconds. */
  readonly time?: number;
  readonly anchors?: SimulatedVendor['anchors'];
  readonly onKept?: (item: NvidiaItem, keeping: Keeping) => void;
}

function kept({
  time = SIMULATED_AT,
  anchors = vendor.anchors,
  ...more
}: Setting = {}): KeptCollateral<NvidiaItem> {
  const clock = { posixSeconds: () => time, monotonicMilliseconds: () => 0 };
  return new KeptCollateral({ store, check: nvidiaCollateralCheck(anchors), clock, ...more });
}

function fixed(...contents: readonly (readonly [NvidiaItem, Uint8Array])[]): CollateralSource<NvidiaItem> {
  const byName = new Map(contents.map(([item, bytes]) => [collateralName(item), bytes]));
  return { find: (item) => Promise.resolve(byName.get(collateralName(item))) };
}

/** About the provisioner of the device. */
const provisionerAnswer = (): OcspItem => {
  const item = answersAbout(evidence.certificates)[2];
  if (item === undefined) throw new Error('no chain');
  return item;
};
const answerTo = (
  item: OcspItem,
  options: Parameters<SimulatedVendor['answer']>[1] = {},
): Promise<Uint8Array> => vendor.answer(item.chain[0] ?? new Uint8Array(), options);

/** The three services in one. */
const honest: KeyHandler = (incoming, outgoing) => {
  nvidiaHandler(vendor, manifests, evidence.certificates)(incoming, outgoing);
};

function servicesAt({ options }: KeyServer): NvidiaServices {
  const { address, ...others } = options;
  const addresses = { manifests: address, ocsp: address, attestation: address };
  return new NvidiaServices({ ...others, addresses });
}

const codeOf = (action: () => Promise<unknown>): Promise<string> => refusalCodeAsync(action);

describe('collateral for GPUs', () => {
  it('CO-12: what the services have is enough for the verifier, and is there without them', async () => {
    const server = await startKeyServer(honest);
    const wants = { devices: [evidence], serviceKeys: false };
    const { collateral, failures } = await gatherNvidiaCollateral(
      kept({ upstream: servicesAt(server) }),
      wants,
    );
    expect(failures).toEqual([]);
    expect([...collateral.keys()].filter((name) => name.startsWith('rim:'))).toHaveLength(2);
    const inputs = { ...(await inputsFor(vendor, device, NONCE)), collateral };
    expect(await nvidiaGpuDeviceClass.verify(evidence, inputs)).toMatchObject({ outcome: 'accepted' });
    const offline = await gatherNvidiaCollateral(kept(), wants);
    expect([...offline.collateral.keys()]).toEqual([...collateral.keys()]);
    const listed = await store.list();
    expect(listed.filter((path) => path.endsWith('.xml'))).toHaveLength(2);
    expect(listed.filter((path) => path.endsWith('.der')).length).toBe(
      listed.filter((path) => path.endsWith('-chain.pem')).length,
    );
    expect(server.asked.filter((path) => path.startsWith('/v1/rim/'))).toHaveLength(2);
  });

  it('CO-12: machines with the same software ask once', async () => {
    const server = await startKeyServer(honest);
    const second = readGpuEvidence(await evidenceOf(device, NONCE), 'evidence');
    const wants = { devices: [evidence, second], serviceKeys: false };
    const upstream = servicesAt(server);
    await gatherNvidiaCollateral(upstream, wants);
    expect(new Set(server.asked.filter((path) => path !== '/')).size).toBe(2);
    expect(server.asked).toHaveLength(8);
  });

  it('CO-12: what nobody has is told as a failure or left out', async () => {
    const down: CollateralSource<NvidiaItem> = new NvidiaServices({
      addresses: { manifests: undefined, ocsp: undefined, attestation: undefined },
    });
    const wants = { devices: [evidence], serviceKeys: true };
    expect(await gatherNvidiaCollateral(kept({ upstream: down }), wants)).toMatchObject({ failures: [] });
    const server = await startKeyServer((_incoming, outgoing) => {
      outgoing.writeHead(200);
      outgoing.end('no');
    });
    const { collateral, failures } = await gatherNvidiaCollateral(
      kept({ upstream: servicesAt(server) }),
      wants,
    );
    expect(collateral.size).toBe(0);
    expect(failures.map(({ code }) => code)).toEqual([
      ...['nvidia-answer', 'nvidia-answer'],
      ...['der-truncated', 'der-truncated', 'der-truncated', 'nras-malformed'],
    ]);
  });
});

describe('a store of collateral for GPUs', () => {
  it('CO-14: a manifest is that of its identifier, and below a root of manifests', async () => {
    const find = (item: RimItem, bytes: Uint8Array, setting: Setting = {}): Promise<string> =>
      codeOf(() => kept({ upstream: fixed([item, bytes]), ...setting }).find(item));
    const of = (identifier: string): RimItem => ({ kind: 'rim', identifier });
    expect(await find(vbios, driverManifest)).toBe('collateral-other');
    expect(await find(of(driver.identifier.replace('GH100', 'GB100')), driverManifest)).toBe(
      'collateral-other',
    );
    expect(await find(of(`${driver.identifier}.1`), driverManifest)).toBe('collateral-other');
    expect(await find(of('NV_SWITCH_BIOS_5612_0002_890_1'), driverManifest)).toBe('collateral-other');
    const devices = vendor.anchors.filter(({ purpose }) => purpose === 'endorsements');
    expect(await find(driver, driverManifest, { anchors: devices })).toMatch(/^(?:path|rim)-/);
    const text = new TextDecoder().decode(driverManifest).replace(/Hash0="../, 'Hash0="ff');
    expect(await find(driver, new TextEncoder().encode(text))).toBe('rim-digest');
    expect(await store.list()).toEqual([]);
    expect(await find(driver, driverManifest)).toBe('accepted');
    expect(await store.list()).toEqual([`nvidia/rim/${driver.identifier}.xml`]);
  });

  it('CO-14: an answer is one about the certificate, below a root, and in force', async () => {
    const item = provisionerAnswer();
    const find = async (bytes: Promise<Uint8Array>, setting: Setting = {}): Promise<string> => {
      const upstream = fixed([item, await bytes]);
      return codeOf(() => kept({ upstream, ...setting }).find(item));
    };
    const other = answersAbout(evidence.certificates)[3];
    if (other === undefined) throw new Error('no chain');
    expect(await find(answerTo(other))).toBe('ocsp-other-certificate');
    const manifestsOnly = vendor.anchors.filter(({ purpose }) => purpose === 'reference-values');
    expect(await find(answerTo(item), { anchors: manifestsOnly })).toBe('path-untrusted');
    expect(await find(answerTo(item), { time: SIMULATED_AT + 2 * DAY })).toBe('ocsp-stale');
    const long = { thisUpdate: SIMULATED_AT - 8 * DAY, nextUpdate: SIMULATED_AT + DAY };
    expect(await find(answerTo(item, long))).toBe('ocsp-too-old');
    expect(await store.list()).toEqual([]);
    expect(await find(answerTo(item))).toBe('accepted');
    expect(await store.list()).toEqual([`${collateralName(item)}-chain.pem`, `${collateralName(item)}.der`]);
  });

  it('CO-14: a key set has a key that leads to an anchor for results', async () => {
    const signer = new NrasSigner();
    const item: NvidiaItem = { kind: 'nras-keys' };
    const find = (bytes: Uint8Array, setting: Setting = {}): Promise<string> =>
      codeOf(() =>
        kept({
          upstream: fixed([item, bytes]),
          time: NRAS_TIME,
          anchors: [signer.anchor()],
          ...setting,
        }).find(item),
      );
    expect(await find(keySet(signer.jwk()), { anchors: vendor.anchors })).toBe('path-untrusted');
    expect(await find(keySet(signer.jwk({ x5c: undefined })))).toBe('nras-key-certificate');
    expect(await find(keySet(signer.jwk({ x5c: undefined, kid: 'a' }), signer.jwk()))).toBe('accepted');
    expect(await find(keySet(signer.jwk()), { time: NRAS_TIME + 2 * DAY })).toBe('path-validity');
    expect(await store.list()).toEqual(['nvidia/nras-keys.json']);
  });

  it('CO-16: an answer is asked for again after six hours, and used while nobody answers', async () => {
    const item = provisionerAnswer();
    const asked: string[] = [];
    const bytes = await answerTo(item);
    const upstream: CollateralSource<NvidiaItem> = {
      find: (wanted) => {
        asked.push(collateralName(wanted));
        return Promise.resolve(bytes);
      },
    };
    await kept({ upstream }).find(item);
    await utimes(join(store.folder, `${collateralName(item)}.der`), SIMULATED_AT, SIMULATED_AT);
    await kept({ upstream }).find(item);
    expect(asked).toHaveLength(1);
    const later = SIMULATED_AT + 6 * 3600 + 60;
    await kept({ upstream, time: later }).find(item);
    expect(asked).toHaveLength(2);
    expect(await kept({ time: later }).find(item)).toEqual(bytes);
  });

  it('CO-17: an older answer takes the place of no newer one', async () => {
    const item = provisionerAnswer();
    const revoked = await answerTo(item, { status: 'revoked' });
    const before = await answerTo(item, { thisUpdate: SIMULATED_AT - 7200 });
    await kept().keep(item, revoked);
    expect(await codeOf(() => kept().keep(item, before))).toBe('collateral-older');
    expect(await kept().find(item)).toEqual(revoked);
    await writeFile(join(store.folder, `${collateralName(item)}.der`), 'x');
    expect(await kept().keep(item, before)).toBe('replaced');
  });

  it('CO-17: an older manifest takes the place of no newer one', async () => {
    const older = await SimulatedManifestIssuer.create(SIMULATED_AT - DAY);
    const pin = {
      name: 'older',
      purpose: 'reference-values',
      simulated: true,
      certificate: older.root.certificate,
    } as const;
    const anchors = [...vendor.anchors, pin];
    const { colloquialVersion: version, measurements } = readRim(driverManifest).manifest;
    const resources = measurements.map(({ index, isActive: active, alternatives }) => ({
      index,
      active,
      alternatives,
    }));
    const issue = older.issue({ product: 'GH100', edition: 'GPU', version, resources });
    expect(await kept({ anchors }).keep(driver, issue)).toBe('new');
    const told: Keeping[] = [];
    const onKept = (_item: NvidiaItem, keeping: Keeping): void => void told.push(keeping);
    await kept({
      anchors,
      upstream: fixed([driver, driverManifest]),
      onKept,
      time: SIMULATED_AT + 2 * DAY,
    }).find(driver);
    expect(told).toEqual(['replaced']);
    expect(await codeOf(() => kept({ anchors }).keep(driver, issue))).toBe('collateral-older');
    expect(await kept({ anchors }).keep(driver, driverManifest)).toBe('same');
    const superseded = (await store.list()).filter((path) => path.includes('superseded'));
    expect(superseded).toHaveLength(1);
    expect(superseded[0]).toMatch(new RegExp(`^nvidia/superseded/${driver.identifier}-[0-9a-f]{64}\\.xml$`));
    expect(new Uint8Array(await readFile(join(store.folder, superseded[0] ?? '')))).toEqual(issue);
  });
});

describe('the services', () => {
  it('CO-15: are asked at NVIDIA’s paths, with a nonce that has to come back', async () => {
    const server = await startKeyServer(honest);
    const services = servicesAt(server);
    expect(await services.find(driver)).toEqual(driverManifest);
    expect(await services.find({ kind: 'rim', identifier: 'NV_GPU_DRIVER_GH100_1' })).toBeUndefined();
    expect(await services.find(provisionerAnswer())).toBeDefined();
    expect(await services.find({ kind: 'nras-keys' })).toBeUndefined();
    const paths = [
      `/v1/rim/${driver.identifier}`,
      '/v1/rim/NV_GPU_DRIVER_GH100_1',
      '/',
      '/.well-known/jwks.json',
    ];
    expect(server.asked).toEqual(paths);
  });

  it('CO-15: an answer without the nonce, of yesterday or about another certificate is refused', async () => {
    const item = provisionerAnswer();
    let bytes = await answerTo(item);
    const server = await startKeyServer((_incoming, outgoing) => {
      respond(outgoing, bytes);
    });
    const services = servicesAt(server);
    expect(await codeOf(() => services.find(item))).toBe('ocsp-nonce');
    bytes = await answerTo(item, { thisUpdate: SIMULATED_AT - 2 * DAY, nextUpdate: SIMULATED_AT + DAY });
    expect(await codeOf(() => services.find(item))).toBe('ocsp-too-old');
    bytes = await vendor.answer(evidence.certificates[1] ?? new Uint8Array());
    expect(await codeOf(() => services.find(item))).toBe('ocsp-other-certificate');
    bytes = Uint8Array.of(0x30, 3, 0x0a, 1, 3);
    expect(await codeOf(() => services.find(item))).toBe('ocsp-unanswered');
  });

  it('CO-15: several who ask about one certificate share one question', async () => {
    const server = await startKeyServer(honest);
    const services = servicesAt(server);
    const answers = await Promise.all(Array.from({ length: 4 }, () => services.find(provisionerAnswer())));
    expect(new Set(answers).size).toBe(1);
    expect(server.asked).toEqual(['/']);
  });

  it('CO-15: throttling and failures are waited out, one service at a time', async () => {
    let failures = 3;
    const server = await startKeyServer((incoming, outgoing) => {
      if (incoming.method === 'POST') {
        honest(incoming, outgoing);
        return;
      }
      failures -= 1;
      if (failures < 0) honest(incoming, outgoing);
      else if (failures === 2) outgoing.destroy();
      else outgoing.writeHead(failures === 1 ? 429 : 503, { 'retry-after': '7' }).end();
    });
    const services = servicesAt(server);
    expect(await services.find(driver)).toEqual(driverManifest);
    expect(server.pauses).toHaveLength(3);
    expect(server.pauses[1]).toBeGreaterThanOrEqual(7000);
    expect(await services.find(provisionerAnswer())).toBeDefined();
    expect(server.pauses).toHaveLength(3);
  });

  it('CO-15: a service that goes on failing is left alone, and the others are not', async () => {
    const server = await startKeyServer((incoming, outgoing) => {
      if (incoming.method === 'POST') honest(incoming, outgoing);
      else outgoing.writeHead(500).end();
    });
    const services = servicesAt(server);
    expect(await codeOf(() => services.find(driver))).toBe('nvidia-busy');
    expect(await codeOf(() => services.find(vbios))).toBe('nvidia-busy');
    expect(server.asked).toHaveLength(4);
    expect(await services.find(provisionerAnswer())).toBeDefined();
  });

  it('CO-15: garbage, too much, half an answer, redirections and strangers are refused', async () => {
    const asking = async (handler: (outgoing: ServerResponse) => void): Promise<string> => {
      const server = await startKeyServer((_incoming, outgoing) => {
        handler(outgoing);
      });
      return codeOf(() => servicesAt(server).find(driver));
    };
    const saying = (body: Uint8Array | string) => (outgoing: ServerResponse) => {
      outgoing.writeHead(200).end(body);
    };
    expect(await asking(saying('<html>'))).toBe('nvidia-answer');
    expect(await asking(saying('{"id":"a","id":"b","rim":""}'))).toBe('nvidia-answer');
    expect(await asking(saying(wrapManifest(vbios.identifier, driverManifest)))).toBe('nvidia-answer');
    expect(await asking(saying(wrapManifest(driver.identifier, driverManifest, { signed: true })))).toBe(
      'nvidia-answer',
    );
    expect(await asking(saying(`{"id":"${driver.identifier}","rim":"?"}`))).toBe('base64-malformed');
    expect(await asking(saying(new Uint8Array(512 * 1024 + 1)))).toBe('nvidia-answer');
    expect(await asking((outgoing) => outgoing.writeHead(302, { location: '/' }).end())).toBe(
      'nvidia-answer',
    );
    const cut = (outgoing: ServerResponse): void => {
      outgoing.writeHead(200, { 'content-length': 100 });
      outgoing.write('{"id":');
      setTimeout(() => outgoing.destroy(), 10);
    };
    expect(await asking(cut)).toBe('nvidia-unreachable');
    const server = await startKeyServer(honest);
    const { address, authorityCertificate: _, ...options } = server.options;
    const addresses = { manifests: address, ocsp: address, attestation: address };
    expect(await codeOf(() => new NvidiaServices({ ...options, addresses }).find(driver))).toBe(
      'nvidia-not-trusted',
    );
  });
});
