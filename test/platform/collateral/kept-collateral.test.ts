import { mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeEach, describe, expect, it } from 'vitest';

import { RefusalError } from '../../../attestation/core/refusal.ts';
import { AmdKds } from '../../../src/platform/collateral/amd-kds.ts';
import { DirectoryStore } from '../../../src/platform/collateral/directory-store.ts';
import { KeptCollateral } from '../../../src/platform/collateral/kept-collateral.ts';
import { sevSnpCollateralCheck } from '../../../src/platform/collateral/sev-snp-check.ts';
import {
  collateralName,
  type CollateralItem,
  type CollateralSource,
} from '../../../src/platform/collateral/source.ts';
import {
  amdChain,
  amdFile,
  amdVectorsMissing,
  fixedSource,
  itemOfVcek,
  pinnedRoot,
} from '../../support/amd-collateral.ts';
import { respond, startKeyServer } from '../../support/key-server.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const skip = amdVectorsMissing !== undefined;
const milanChain: CollateralItem = { kind: 'chain', line: 'Milan', signer: 'vcek' };
const genoaChain: CollateralItem = { kind: 'chain', line: 'Genoa', signer: 'vcek' };
const genoaList: CollateralItem = { kind: 'crl', line: 'Genoa', signer: 'vcek' };
const at = (text: string): number => Date.parse(text) / 1000;
const IN_2022 = at('2022-12-01T00:00:00Z');
const IN_2025 = at('2025-06-01T00:00:00Z');

let store: DirectoryStore;
beforeEach(async () => {
  store = new DirectoryStore(join(await temporaryFolder(), 'collateral'));
});

interface Setting {
  readonly upstream?: CollateralSource;
  readonly time?: number;
  readonly roots?: readonly ('Milan' | 'Genoa' | 'Turin')[];
}

function kept({
  upstream,
  time = IN_2025,
  roots = ['Milan', 'Genoa', 'Turin'],
}: Setting = {}): KeptCollateral {
  const clock = { posixSeconds: () => time, monotonicMilliseconds: () => 0 };
  const check = sevSnpCollateralCheck(roots.map(pinnedRoot));
  return new KeptCollateral({ store, check, clock, ...(upstream === undefined ? {} : { upstream }) });
}

const unavailable: CollateralSource = {
  find: () => {
    const facts = { field: 'source', expected: 'an answer', found: 'none', hint: '' };
    return Promise.reject(new RefusalError('unavailable', { code: 'kds-unreachable', ...facts }));
  },
};

describe.skipIf(skip)(`collateral that is kept ${amdVectorsMissing ?? ''}`, () => {
  const vcek = skip ? new Uint8Array() : amdFile('milan-v3-vcek/vcek.der');
  const vcekItem = skip ? milanChain : itemOfVcek(vcek);

  it('CO-3: what was fetched is there when nobody answers any more', async () => {
    const upstream = fixedSource([vcekItem, vcek], [milanChain, amdChain('Milan')]);
    expect(await kept({ upstream }).find(vcekItem)).toEqual(vcek);
    expect(upstream.asked).toEqual([vcekItem, milanChain].map(collateralName));
    expect(await kept({ upstream: unavailable }).find(vcekItem)).toEqual(vcek);
    expect(await kept().find(vcekItem)).toEqual(vcek);
    expect(await store.list()).toEqual(['sev-snp/Milan/vcek-chain.pem', `${collateralName(vcekItem)}.der`]);
  });

  it('CO-3: what nobody has is undefined; what cannot be had is refused', async () => {
    expect(await kept().find(milanChain)).toBeUndefined();
    expect(await kept({ upstream: fixedSource() }).find(milanChain)).toBeUndefined();
    expect(await refusalCodeAsync(() => kept({ upstream: unavailable }).find(milanChain))).toBe(
      'kds-unreachable',
    );
  });

  it('CO-2: nothing that does not lead to a pinned root is stored', async () => {
    const upstream = fixedSource([vcekItem, vcek], [milanChain, amdChain('Milan')]);
    const codes = await Promise.all(
      [milanChain, vcekItem].map((item) =>
        refusalCodeAsync(() => kept({ upstream, roots: ['Genoa'] }).find(item)),
      ),
    );
    expect(codes).toEqual(['path-untrusted', 'path-untrusted']);
    expect(await store.list()).toEqual([]);
  });

  it('CO-2: an altered certificate is not stored', async () => {
    const altered = vcek.slice();
    altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
    const upstream = fixedSource([vcekItem, altered], [milanChain, amdChain('Milan')]);
    expect(await refusalCodeAsync(() => kept({ upstream }).find(vcekItem))).toBe('path-signature');
    expect(await store.list()).toEqual(['sev-snp/Milan/vcek-chain.pem']);
  });

  it('CO-2: a certificate of another chip, level or line is not stored', async () => {
    const others = {
      'another chip': amdFile('milan-v3-vcek-measurement/vcek.der'),
      'another line': amdFile('genoa-v5-vcek/vcek.der'),
    };
    for (const [name, other] of Object.entries(others)) {
      const upstream = fixedSource([vcekItem, other], [milanChain, amdChain('Milan')]);
      expect([name, await refusalCodeAsync(() => kept({ upstream }).find(vcekItem))]).toEqual([
        name,
        'collateral-other',
      ]);
    }
    const [wanted, older] = ['genoa-v5-vcek', 'genoa-v2-vcek'].map((name) => amdFile(`${name}/vcek.der`));
    const item = itemOfVcek(wanted ?? vcek);
    const upstream = fixedSource([item, older ?? vcek], [genoaChain, amdChain('Genoa')]);
    expect(await refusalCodeAsync(() => kept({ upstream }).find(item))).toBe('collateral-other');
  });

  it('CO-2: a chain is of its line and signer, whole and in order', async () => {
    const wrong = {
      'the chain of another line': amdChain('Genoa'),
      'the chain of the VLEKs': amdChain('Milan', 'asvk'),
      'the intermediate alone': amdFile('certs/milan-ask.der'),
      'too many': new Uint8Array([...amdChain('Milan'), ...amdChain('Milan')]),
    };
    for (const [name, chain] of Object.entries(wrong)) {
      const upstream = fixedSource([milanChain, chain]);
      expect([name, await refusalCodeAsync(() => kept({ upstream }).find(milanChain))]).toEqual([
        name,
        'collateral-other',
      ]);
    }
    const asvk = fixedSource([{ ...milanChain, signer: 'vlek' }, amdChain('Milan', 'asvk')]);
    expect(await kept({ upstream: asvk }).find({ ...milanChain, signer: 'vlek' })).toBeDefined();
  });

  it('CO-2: nothing is stored before its chain is there', async () => {
    const upstream = fixedSource([vcekItem, vcek]);
    expect(await refusalCodeAsync(() => kept({ upstream }).find(vcekItem))).toBe('collateral-chain-missing');
    expect(await store.list()).toEqual([]);
  });

  it('CO-4: what was altered in the store is fetched again, or refused', async () => {
    const upstream = fixedSource([vcekItem, vcek], [milanChain, amdChain('Milan')]);
    await kept({ upstream }).find(vcekItem);
    const path = join(store.folder, `${collateralName(vcekItem)}.der`);
    await writeFile(path, amdFile('milan-v3-vcek-measurement/vcek.der'));
    expect(await refusalCodeAsync(() => kept().find(vcekItem))).toBe('collateral-other');
    expect(await kept({ upstream }).find(vcekItem)).toEqual(vcek);
    expect(new Uint8Array(await readFile(path))).toEqual(vcek);
  });

  it('CO-4: what has expired in the store is refused', async () => {
    const upstream = fixedSource([vcekItem, vcek], [milanChain, amdChain('Milan')]);
    await kept({ upstream }).find(vcekItem);
    expect(await refusalCodeAsync(() => kept({ time: at('2060-01-01T00:00:00Z') }).find(vcekItem))).toBe(
      'path-validity',
    );
  });

  it('CO-10: a revocation list is asked for again after a day, and kept when nobody answers', async () => {
    const list = amdFile('crl/genoa-crl-2022.der');
    const upstream = fixedSource([genoaList, list], [genoaChain, amdChain('Genoa')]);
    const today = { upstream, time: IN_2022 };
    expect(await kept(today).find(genoaList)).toEqual(list);
    const path = join(store.folder, 'sev-snp/Genoa/vcek-crl.crl');
    await utimes(path, IN_2022, IN_2022);
    upstream.asked.splice(0);
    await kept(today).find(genoaList);
    expect(upstream.asked).toEqual([]);
    const tomorrow = IN_2022 + 24 * 60 * 60 + 1;
    expect(await kept({ upstream: unavailable, time: tomorrow }).find(genoaList)).toEqual(list);
    await kept({ upstream, time: tomorrow }).find(genoaList);
    expect(upstream.asked).toEqual([collateralName(genoaList)]);
  });

  it('CO-10: a list past its next update, of another root or altered is refused', async () => {
    const list = amdFile('crl/genoa-crl-2022.der');
    const codeOf = (bytes: Uint8Array, time: number): Promise<string> => {
      const upstream = fixedSource([genoaList, bytes], [genoaChain, amdChain('Genoa')]);
      return refusalCodeAsync(() => kept({ upstream, time }).find(genoaList));
    };
    expect(await codeOf(list, IN_2025)).toBe('crl-stale');
    expect(await codeOf(list, at('2022-10-01T00:00:00Z'))).toMatch(/^(?:crl-not-yet-valid|path-validity)$/);
    expect(await codeOf(amdFile('crl/milan-crl-2022.der'), IN_2022)).toBe('crl-issuer');
    const altered = list.slice();
    altered[altered.length - 9] = (altered.at(-9) ?? 0) ^ 4;
    expect(await codeOf(altered, IN_2022)).toBe('crl-signature');
    expect(await store.list()).toEqual(['sev-snp/Genoa/vcek-chain.pem']);
  });

  it('CO-1: several at once fetch once from the service and leave whole files alone', async () => {
    const byPath = new Map([
      ['/vcek/v1/Milan/cert_chain', amdChain('Milan')],
      ['/vcek/v1/Milan/crl', undefined],
    ]);
    const server = await startKeyServer((incoming, outgoing) => {
      const path = (incoming.url ?? '').split('?', 1)[0] ?? '';
      respond(outgoing, byPath.has(path) ? byPath.get(path) : vcek);
    });
    const source = kept({ upstream: new AmdKds(server.options) });
    const answers = await Promise.all(Array.from({ length: 8 }, () => source.find(vcekItem)));
    for (const answer of answers) expect(new Uint8Array(answer ?? [])).toEqual(vcek);
    expect(server.asked.filter((path) => path.includes('blSPL'))).toHaveLength(1);
    expect(server.asked.filter((path) => path.includes('cert_chain')).length).toBeLessThanOrEqual(2);
    const names = await readdir(store.folder, { recursive: true });
    expect(names.filter((name) => name.includes('.partial'))).toEqual([]);
  });

  it('CO-2: the service hands out the certificate of another chip', async () => {
    const server = await startKeyServer((incoming, outgoing) => {
      const isChain = incoming.url?.endsWith('cert_chain') === true;
      respond(outgoing, isChain ? amdChain('Milan') : amdFile('milan-v3-vcek-measurement/vcek.der'));
    });
    const source = kept({ upstream: new AmdKds(server.options) });
    expect(await refusalCodeAsync(() => source.find(vcekItem))).toBe('collateral-other');
    expect(await store.list()).toEqual(['sev-snp/Milan/vcek-chain.pem']);
  });
});

describe('a folder of collateral', () => {
  it('CO-3: may be missing, and a link in it may lead elsewhere', async () => {
    expect(await store.list()).toEqual([]);
    expect(await store.find(milanChain)).toBeUndefined();
    const target = join(await temporaryFolder(), 'chain.pem');
    await writeFile(target, 'x');
    await mkdir(join(store.folder, 'sev-snp/Milan'), { recursive: true });
    await symlink(target, join(store.folder, 'sev-snp/Milan/vcek-chain.pem'));
    expect((await store.find(milanChain))?.bytes).toHaveLength(1);
  });

  it('CO-3: too large a file, a folder in place of a file and a file in place of a folder are refused', async () => {
    const folder = join(store.folder, 'sev-snp/Milan');
    await mkdir(join(folder, 'vlek-chain.pem'), { recursive: true });
    await writeFile(join(folder, 'vcek-chain.pem'), new Uint8Array(32 * 1024 + 1));
    await writeFile(join(store.folder, 'sev-snp/Genoa'), '');
    const codeOf = (item: CollateralItem): Promise<string> => refusalCodeAsync(() => store.find(item));
    expect(await codeOf(milanChain)).toBe('file-too-large');
    expect(await codeOf({ ...milanChain, signer: 'vlek' })).toBe('file-not-readable');
    expect(await refusalCodeAsync(() => store.put(genoaChain, Uint8Array.of(1)))).toBe('file-not-written');
  });
});
