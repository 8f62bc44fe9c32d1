import { expect } from 'chai';
import { count, SIZE } from './support/database.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { load, loaded, report, show } from './support/instances.ts';
import { fail, jobOf, result, succeed } from './support/jobs.ts';

const UNKNOWN = '00000000000000000000000000';

describe('http: loading and showing instances', () => {
  let center: HttpCenter;
  let near: string;
  let far: string;
  let cloud: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
    near = await center.pool('local');
    far = await center.pool('local', 'n2');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());

  const refused = async (body: unknown, status: number, code: string) => {
    const answer = await center.send('PUT', 'cdm_instances', body);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([status, code]);
    return answer.body;
  };
  const newSet = async (name: string): Promise<string> => (await center.send('PUT', 'sets', { name })).body['set-id'];
  const nodeState = (id: string, state: string) => center.database.query('UPDATE nodes SET state = ? WHERE id = ?', [state, id]);

  describe('load', () => {
    it('of a block makes an instance on a node that has it, and the job says all that the node needs', async () => {
      const block = await center.block([far, cloud]);
      const { id, jobId } = await load(center, { block_id: block, name: 'db copy' });
      const job = await jobOf(center, jobId);
      expect([job.kind, job.node_id]).to.deep.equal(['load', 'n2']);
      expect(job.params).to.deep.equal({
        instance_id: id,
        name: 'db copy',
        read_only: false,
        disks: [{ index: 0, block: { id: block, size: SIZE, chunk_size: 1048576, root_digest: 'ab'.repeat(32) }, pool_id: far }],
      });
      const claims = await center.database.query('SELECT resource, mode FROM claims WHERE job_id = ? ORDER BY resource', [jobId]);
      expect(claims.map((one: { resource: string; mode: string }) => `${one.mode} ${one.resource}`)).to.have.members([
        `shared block:${block}`,
        `shared replica:${block}/${far}`,
        `shared pool:${far}`,
        `exclusive instance:${id}`,
      ]);
      expect(await show(center, id)).to.deep.include({ id, name: 'db copy', node_id: 'n2', state: 'loading', set_id: null });
      await succeed(center, jobId, result({}));
      expect(await show(center, id)).to.deep.include({ state: 'loaded', read_only: false, error: null });
      expect(await count(center.database, 'claims WHERE job_id = ?', [jobId])).to.equal(0);
    });

    it('goes to the node that is asked for, and reads what is asked for', async () => {
      const block = await center.block([near, far, cloud]);
      const on = (await load(center, { block_id: block, node_id: 'n1' })).jobId;
      expect((await jobOf(center, on)).params.disks[0].pool_id).to.equal(near);
      const from = (await load(center, { block_id: block, node_id: 'n1', from_pool_id: cloud, read_only: true })).jobId;
      expect((await jobOf(center, from)).params).to.deep.include({ read_only: true });
      expect((await jobOf(center, from)).params.disks[0].pool_id).to.equal(cloud);
      await refused({ block_id: block, node_id: 'nobody' }, 404, 'node_not_found');
      await refused({ block_id: await center.block([near]), from_pool_id: cloud }, 404, 'replica_not_found');
    });

    it('leaves a node alone that drains, and waits for one that is away and alone has the block', async () => {
      const [only, both] = [await center.block([far]), await center.block([far, cloud])];
      const nodeOf = async (block: string) => (await jobOf(center, (await load(center, { block_id: block })).jobId)).node_id;
      try {
        await nodeState('n2', 'draining');
        expect(await nodeOf(only), 'read through its pool server').to.equal('n1');
        await refused({ block_id: only, node_id: 'n2' }, 409, 'node_draining');
        await nodeState('n2', 'offline');
        expect([await nodeOf(only), await nodeOf(both)]).to.deep.equal(['n2', 'n1']);
      } finally {
        await nodeState('n2', 'online');
      }
    });

    it('of a set loads all its blocks, in order, with the set\u2019s name', async () => {
      const set = await newSet('erp/prod');
      const blocks = [await center.block([near], set), await center.block([cloud], set)].toSorted();
      const id = await loaded(center, { set_id: set });
      const shown = await show(center, id);
      expect(shown).to.deep.include({ name: 'erp-prod', set_id: set, node_id: 'n1' });
      expect(shown.disks.map((disk: { index: number; block_id: string }) => [disk.index, disk.block_id])).to.deep.equal([
        [0, blocks[0]],
        [1, blocks[1]],
      ]);
      expect((await show(center, await loaded(center, { set_id: set }))).name, 'made unique').to.equal('erp-prod 2');
    });

    it('of a set loads none of it where one block is not available, and names it', async () => {
      const set = await newSet('half');
      await refused({ set_id: set }, 409, 'set_empty');
      await center.block([near], set);
      const broken = await center.block([near], set);
      await center.database.query("UPDATE blocks SET state = 'creating' WHERE id = ?", [broken]);
      expect((await refused({ set_id: set }, 409, 'block_not_available')).detail).to.include(broken);
      await center.database.query(
        "UPDATE blocks SET state = 'trashed', purge_at = UTC_TIMESTAMP(3) + INTERVAL 1 DAY WHERE id = ?",
        [broken],
      );
      expect((await show(center, await loaded(center, { set_id: set }))).disks, 'the trash is not of the set').to.have.length(1);
      expect(await count(center.database, 'cdm_instances WHERE set_id = ?', [set])).to.equal(1);
    });

    it('names are unique: one that is given is refused, one that is not gets a number', async () => {
      const block = await center.block([near]);
      await center.database.query("UPDATE blocks SET name = '100% a_b' WHERE id = ?", [block]);
      const names = [];
      for (let i = 0; i < 3; i++) names.push((await show(center, (await load(center, { block_id: block })).id)).name);
      expect(names).to.deep.equal(['100% a_b', '100% a_b 2', '100% a_b 3']);
      const taken = await refused({ block_id: block, name: '100% a_b 2' }, 409, 'name_taken');
      expect(taken.errors[0].path).to.equal('name');
      expect(await count(center.database, "jobs WHERE block_id = ? AND kind = 'load'", [block])).to.equal(3);
    });

    it('many at once of one block get a name each', async () => {
      const block = await center.block([near]);
      const made = await Promise.all(Array.from({ length: 6 }, () => load(center, { block_id: block })));
      expect(new Set(await Promise.all(made.map(async ({ id }) => (await show(center, id)).name))).size).to.equal(6);
    });

    it('is one for one Idempotency-Key', async () => {
      const block = await center.block([near]);
      const send = () => center.send('PUT', 'cdm_instances', { block_id: block }, { 'Idempotency-Key': 'load-1' });
      const [a, b] = [await send(), await send()];
      expect(a.body).to.deep.equal(b.body);
      expect(await count(center.database, 'cdm_instance_disks WHERE block_id = ?', [block])).to.equal(1);
    });

    it('that failed leaves no instance; retried, it is the same one again', async () => {
      const block = await center.block([near]);
      const { id, jobId } = await load(center, { block_id: block, name: 'again' });
      await fail(center, jobId, 'pool_unusable');
      expect((await center.send('GET', `cdm_instances/${id}`)).status).to.equal(404);
      expect(await count(center.database, 'cdm_instance_disks WHERE instance_id = ?', [id])).to.equal(0);
      expect((await center.send('GET', `jobs/${jobId}`)).body.job.error.code).to.equal('pool_unusable');
      const next = (await center.send('POST', `jobs/${jobId}?action=retry`)).body['job-id'];
      expect(await show(center, id)).to.deep.include({ state: 'loading', name: 'again' });
      const cancelled = await center.send('POST', `jobs/${next}?action=cancel`);
      expect(cancelled.status, cancelled.text).to.equal(202);
      expect((await center.send('GET', `cdm_instances/${id}`)).status).to.equal(404);
      await load(center, { block_id: block, name: 'again' });
      const taken = await center.send('POST', `jobs/${jobId}?action=retry`);
      expect([taken.status, taken.body.code]).to.deep.equal([409, 'job_not_retryable']);
      expect(taken.body.detail).to.include('"again"');
    });

    for (const [what, body, path] of [
      ['neither a block nor a set', {}, 'block_id'],
      ['both', { block_id: `block-${UNKNOWN}`, set_id: `set-${UNKNOWN}` }, 'block_id'],
      ['an id of another kind', { block_id: `set-${UNKNOWN}` }, 'block_id'],
      ['a name with a slash', { block_id: `block-${UNKNOWN}`, name: 'a/0' }, 'name'],
      ['a name that looks like an id', { block_id: `block-${UNKNOWN}`, name: `ins-${UNKNOWN}` }, 'name'],
      ['a name of blanks', { block_id: `block-${UNKNOWN}`, name: '  ' }, 'name'],
      ['a long name', { block_id: `block-${UNKNOWN}`, name: 'x'.repeat(129) }, 'name'],
      ['read_only as text', { block_id: `block-${UNKNOWN}`, read_only: 'yes' }, 'read_only'],
      ['a node id that is none', { block_id: `block-${UNKNOWN}`, node_id: 'N 1' }, 'node_id'],
      ['an unknown field', { block_id: `block-${UNKNOWN}`, writable: true }, 'writable'],
    ] as [string, unknown, string][]) {
      it(`is refused with ${what}`, async () => {
        const found = await refused(body, 422, 'invalid_request');
        expect(found.errors.map((one: { path: string }) => one.path)).to.include(path);
      });
    }

    it('is refused for what is not there, and for viewers', async () => {
      await refused({ block_id: `block-${UNKNOWN}` }, 404, 'block_not_found');
      await refused({ set_id: `set-${UNKNOWN}` }, 404, 'set_not_found');
      const viewer = { Authorization: `Bearer ${await center.tokenFor('viewer')}` };
      expect((await center.send('PUT', 'cdm_instances', { block_id: `block-${UNKNOWN}` }, viewer)).status).to.equal(403);
    });
  });

  describe('get', () => {
    before(() => center.database.query("UPDATE nodes SET nbd_endpoint = 'nbd://10.0.0.7:10809' WHERE id = 'n1'"));

    it('of one asks its node: URIs, figures and commands', async () => {
      const block = await center.block([near]);
      const id = await loaded(center, { block_id: block, name: "it's live" });
      center.nodes.answers.instance_stat = () => report(id, [{ block, pool: near }]);
      const shown = await show(center, id);
      expect(center.nodes.calls.at(-1)).to.deep.include({ nodeId: 'n1', method: 'instance_stat', request: { instance_id: id } });
      expect(shown.disks).to.deep.equal([
        {
          index: 0,
          block_id: block,
          pool_id: near,
          uri: `nbd://10.0.0.7:10809/${id}`,
          unix_uri: `nbd+unix:///${id}?socket=/var/lib/open%20node/run/nbd.sock`,
          size: SIZE,
          overlay_bytes: 4096,
          bytes_read: 1000,
          bytes_written: 2000,
          connections: 3,
        },
      ]);
      expect(shown.commands).to.deep.equal([
        {
          index: 0,
          tcp: {
            nbdinfo: `nbdinfo nbd://10.0.0.7:10809/${id}`,
            nbd_client: `modprobe nbd && nbd-client 10.0.0.7 10809 /dev/nbd0 -name ${id} -block-size 512`,
            qemu: `qemu-system-x86_64 -m 2048 -drive 'file=nbd://10.0.0.7:10809/${id},format=raw,if=virtio'`,
            qemu_img: `qemu-img convert -p -f raw -O qcow2 nbd://10.0.0.7:10809/${id} 'it-s live.qcow2'`,
            nbdfuse: `mkdir -p 'it-s live' && nbdfuse 'it-s live/disk.img' nbd://10.0.0.7:10809/${id} &`,
            guestfish: `guestfish --rw --format=raw -a nbd://10.0.0.7:10809/${id} -i`,
          },
          unix: {
            nbdinfo: `nbdinfo 'nbd+unix:///${id}?socket=/var/lib/open%20node/run/nbd.sock'`,
            nbd_client: `modprobe nbd && nbd-client -unix '/var/lib/open node/run/nbd.sock' /dev/nbd0 -name ${id} -block-size 512`,
            qemu: `qemu-system-x86_64 -m 2048 -drive 'file=nbd+unix:///${id}?socket=/var/lib/open%20node/run/nbd.sock,format=raw,if=virtio'`,
            qemu_img: `qemu-img convert -p -f raw -O qcow2 'nbd+unix:///${id}?socket=/var/lib/open%20node/run/nbd.sock' 'it-s live.qcow2'`,
            nbdfuse: `mkdir -p 'it-s live' && nbdfuse 'it-s live/disk.img' 'nbd+unix:///${id}?socket=/var/lib/open%20node/run/nbd.sock' &`,
            guestfish: `guestfish --rw --format=raw -a 'nbd+unix:///${id}?socket=/var/lib/open%20node/run/nbd.sock' -i`,
          },
        },
      ]);
    });

    it('of several disks names each; read-only and TLS show in the commands', async () => {
      const set = await newSet('pair');
      const blocks = [await center.block([near], set), await center.block([near], set)].toSorted();
      const id = await loaded(center, { set_id: set, read_only: true });
      await center.database.query("UPDATE nodes SET nbd_endpoint = 'nbds://[fd00::7]:10809' WHERE id = 'n1'");
      center.nodes.answers.instance_stat = () =>
        report(
          id,
          blocks.map((block) => ({ block, pool: near })),
        );
      const { disks, commands } = await show(center, id);
      await center.database.query("UPDATE nodes SET nbd_endpoint = 'nbd://10.0.0.7:10809' WHERE id = 'n1'");
      expect(disks.map((disk: { uri: string }) => disk.uri)).to.deep.equal(
        [0, 1].map((n) => `nbds://[fd00::7]:10809/${id}/${n}`),
      );
      expect(commands[1].tcp).to.deep.equal({
        nbdinfo: `nbdinfo 'nbds://[fd00::7]:10809/${id}/1?tls-certificates=pki'`,
        nbd_client: `modprobe nbd && nbd-client fd00::7 10809 -cacertfile pki/ca-cert.pem -tlshostname fd00::7 /dev/nbd1 -name ${id}/1 -block-size 512 -readonly`,
        qemu: `qemu-system-x86_64 -m 2048 -object tls-creds-x509,id=tls0,endpoint=client,dir=pki -drive 'file.driver=nbd,file.host=fd00::7,file.port=10809,file.export=${id}/1,file.tls-creds=tls0,format=raw,if=virtio,readonly=on'`,
        qemu_img: `qemu-img convert -p --object tls-creds-x509,id=tls0,endpoint=client,dir=pki --image-opts -O qcow2 'driver=nbd,host=fd00::7,port=10809,export=${id}/1,tls-creds=tls0' pair-1.qcow2`,
        nbdfuse: `mkdir -p pair-1 && nbdfuse -r pair-1/disk.img 'nbds://[fd00::7]:10809/${id}/1?tls-certificates=pki' &`,
        guestfish: null,
      });
      expect(commands[0].unix.guestfish).to.match(/^guestfish --ro --format=raw -a /);
    });

    it('of one whose node does not answer shows what was known last', async () => {
      const block = await center.block([near]);
      const id = await loaded(center, { block_id: block });
      await center.database.query('UPDATE cdm_instance_disks SET overlay_bytes = 777 WHERE instance_id = ?', [id]);
      for (const code of ['away', 'instance_not_found']) {
        if (code === 'away') center.nodes.away('instance_stat');
        else center.nodes.refuse('instance_stat', code);
        const { state, disks, commands } = await show(center, id);
        expect(state).to.equal('loaded');
        expect(disks[0]).to.deep.include({
          uri: `nbd://10.0.0.7:10809/${id}`,
          unix_uri: null,
          overlay_bytes: 777,
          bytes_read: null,
          bytes_written: null,
          connections: null,
        });
        expect(commands[0].unix).to.equal(null);
      }
    });

    it('of one that its node cannot serve just now says so', async () => {
      const block = await center.block([near]);
      const id = await loaded(center, { block_id: block });
      center.nodes.answers.instance_stat = () =>
        report(id, [{ block, pool: near }], { state: 'error', message: 'The pool is away.' });
      expect(await show(center, id)).to.deep.include({
        state: 'error',
        error: { code: 'instance_error', message: 'The pool is away.' },
      });
    });

    it('of what is not there is 404', async () => {
      for (const id of [`ins-${UNKNOWN}`, `block-${UNKNOWN}`, 'x']) {
        const answer = await center.send('GET', `cdm_instances/${id}`);
        expect([answer.status, answer.body.code]).to.deep.equal([404, 'cdm_instance_not_found']);
      }
    });

    it('of all goes page by page, and filters', async () => {
      const [a, b] = [await center.block([near]), await center.block([far])];
      const made = [await loaded(center, { block_id: a, name: 'List A' }), await loaded(center, { block_id: b, name: 'list b' })];
      await load(center, { block_id: b, name: 'list c' });
      const list = async (query: string) => (await center.send('GET', `cdm_instances?${query}`)).body;
      const names = async (query: string) => (await list(query)).cdm_instances.map((one: { name: string }) => one.name);
      expect(await names('filter=LIST&sort=name')).to.deep.equal(['List A', 'list b', 'list c']);
      const first = await list('filter=list&limit=2');
      expect(first.cdm_instances.map((one: { id: string }) => one.id)).to.deep.equal(made);
      expect(first.next_marker).to.equal(made[1]);
      const rest = await list(`filter=list&marker=${first.next_marker}`);
      expect([rest.cdm_instances.length, rest.next_marker]).to.deep.equal([1, null]);
      expect(await names(`block_id=${b}`)).to.deep.equal(['list b', 'list c']);
      expect(await names(`block_id=${b}&state=loaded`)).to.deep.equal(['list b']);
      expect(await names('filter=list&node_id=n1')).to.deep.equal(['List A']);
      expect(first.cdm_instances[0].disks[0]).to.deep.include({
        uri: `nbd://10.0.0.7:10809/${made[0]}`,
        size: SIZE,
        bytes_read: null,
      });
      for (const wrong of ['marker=x', 'state=asleep', 'block_id=x', 'set_id=x', 'limit=0', 'what=1']) {
        expect((await center.send('GET', `cdm_instances?${wrong}`)).status, wrong).to.equal(422);
      }
    });
  });

  it('stands in the OpenAPI document', async () => {
    const { paths, components } = (await center.send('GET', '/openapi.json')).body;
    expect(Object.keys(paths['/openstore_v1/cdm_instances'])).to.have.members(['get', 'put']);
    expect(Object.keys(paths['/openstore_v1/cdm_instances/{ins_id}'])).to.have.members(['get', 'delete', 'post']);
    expect(components.schemas).to.include.keys('CdmInstance', 'CdmInstanceDisk', 'LoadCdmInstance', 'HydrateCdmInstance');
  });
});
