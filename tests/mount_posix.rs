//! What POSIX and Linux promise, on a mounted volume.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{World, in_every_setup};

/// Names that the scripts share.
const PRELUDE: &str = r#"
import os, errno, mmap, fcntl, struct, ctypes, threading, stat, time
libc = ctypes.CDLL(None, use_errno=True)
def fails(number, call, *args, **kw):
    try: call(*args, **kw)
    except OSError as e: assert e.errno == number, (errno.errorcode[e.errno], errno.errorcode[number]); return
    assert False, 'succeeded'
def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        e = ctypes.get_errno(); raise OSError(e, os.strerror(e))
def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        e = ctypes.get_errno(); raise OSError(e, os.strerror(e))
def put(name, data):
    with open(name, 'wb') as f: f.write(data)
def get(name):
    with open(name, 'rb') as f: return f.read()
def as_user(uid, gid, groups, work):
    pid = os.fork()
    if pid == 0:
        try: os.setgroups(groups); os.setresgid(gid, gid, gid); os.setresuid(uid, uid, uid); work(); os._exit(0)
        except BaseException as e: print(e, flush=True); os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
"#;

fn check(script: &str) {
    in_every_setup(|world: &mut World| world.python(&format!("{PRELUDE}{script}")));
}

#[test]
fn state_belongs_to_the_inode_also_when_it_has_no_name() {
    check(
        r#"
put('a', b'1' * 10000)
fd = os.open('a', os.O_RDWR)
other = os.open('a', os.O_RDWR)
os.unlink('a')
assert os.fstat(fd).st_nlink == 0
os.pwrite(fd, b'hello', 20000); assert os.fstat(other).st_size == 20005
assert os.pread(other, 5, 20000) == b'hello'
os.fchmod(fd, 0o604); os.fchown(fd, 77, 88); os.utime(fd, ns=(10**18 + 1, 10**18 + 2))
os.setxattr(fd, 'user.x', b'v'); assert os.getxattr(other, 'user.x') == b'v'
st = os.fstat(other)
assert (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns) == (0o604, 77, 88, 10**18 + 2), st
os.ftruncate(fd, 3); os.fsync(fd); assert os.fstat(other).st_size == 3
os.close(fd); assert os.pread(other, 10, 0) == b'111'; os.close(other)
assert os.listdir('.') == []

put('old', b'old'); put('new', b'new')
fd = os.open('old', os.O_RDWR)
os.rename('new', 'old')
os.write(fd, b'OLD'); os.fsync(fd); os.ftruncate(fd, 2)
assert os.pread(fd, 10, 0) == b'OL' and get('old') == b'new'
os.close(fd)
"#,
    );
}

#[test]
fn any_mode_works_at_creation_and_later() {
    check(
        r#"
os.umask(0)
for mode in (0, 0o200, 0o400, 0o077, 0o7777, 0o111):
    name = 'f%o' % mode
    fd = os.open(name, os.O_CREAT | os.O_RDWR | os.O_EXCL, mode)
    os.write(fd, b'x' * 5000); os.close(fd)
    assert os.stat(name).st_mode & 0o7777 == mode, oct(os.stat(name).st_mode)
    assert get(name) == b'x' * 5000
    os.mkdir('d%o' % mode, mode & 0o1777)
    assert os.stat('d%o' % mode).st_mode & 0o7777 == mode & 0o1777
os.chmod('f0', 0o7654); assert os.stat('f0').st_mode & 0o7777 == 0o7654
os.umask(0o027)
fd = os.open('masked', os.O_CREAT | os.O_RDWR, 0o666); os.close(fd)
assert os.stat('masked').st_mode & 0o7777 == 0o640
"#,
    );
}

#[test]
fn owners_come_from_the_caller_and_from_setgid_directories() {
    check(
        r#"
os.umask(0)
os.mkdir('d', 0o777); os.chown('d', 5, 6); os.chmod('d', 0o2777)
os.chmod('.', 0o777)
def make():
    put('mine', b''); put('d/theirs', b''); os.mkdir('d/sub', 0o755); os.symlink('x', 'link'); os.mkfifo('pipe')
    for n in ('mine', 'link', 'pipe'):
        st = os.lstat(n); assert (st.st_uid, st.st_gid) == (1001, 1002), (n, st)
    for n in ('d/theirs', 'd/sub'):
        st = os.lstat(n); assert (st.st_uid, st.st_gid) == (1001, 6), (n, st)
    assert os.stat('d/sub').st_mode & 0o7777 == 0o2755
    fails(errno.EPERM, os.chown, 'mine', 0, -1)
    fails(errno.EPERM, os.chmod, 'd', 0o700)
    os.chown('mine', -1, 4242)
as_user(1001, 1002, [4242], make)
def refused():
    fails(errno.EACCES, open, 'mine', 'r+b'); fails(errno.EACCES, os.listdir, 'private')
    assert get('shared') == b'ok'
os.chmod('mine', 0o600)
os.mkdir('private', 0o700); put('shared', b'ok'); os.chown('shared', 0, 4242); os.chmod('shared', 0o640)
as_user(1003, 1003, [4242], refused)
# A write by somebody without privileges clears the set-id bits.
put('suid', b'data'); os.chmod('suid', 0o6777)
as_user(1003, 1003, [], lambda: put('suid', b'more'))
assert os.stat('suid').st_mode & 0o7777 == 0o777, oct(os.stat('suid').st_mode)
os.chmod('suid', 0o6777)
def write_some():
    fd = os.open('suid', os.O_WRONLY); os.write(fd, b'z'); os.close(fd)
as_user(1003, 1003, [], write_some)
assert os.stat('suid').st_mode & 0o7777 == 0o777, oct(os.stat('suid').st_mode)
os.chmod('suid', 0o6777); as_user(1003, 1003, [], lambda: os.truncate('suid', 1))
assert os.stat('suid').st_mode & 0o7777 == 0o777
"#,
    );
}

#[test]
fn renames_and_links() {
    check(
        r#"
NOREPLACE, EXCHANGE = 1, 2
long = ['L' * 255, 'M' * 200]
for a, b in (('a', 'b'), (long[0], 'b'), ('a', long[0]), tuple(long)):
    put(a, b'A'); put(b, b'B')
    fails(errno.EEXIST, renameat2, a, b, NOREPLACE)
    renameat2(a, b, EXCHANGE); assert get(a) == b'B' and get(b) == b'A'
    os.rename(a, b); assert get(b) == b'B' and not os.path.exists(a)
    renameat2(b, a, NOREPLACE); assert os.listdir('.') == [a]
    os.link(a, b); assert os.stat(b).st_nlink == 2 and os.stat(a).st_ino == os.stat(b).st_ino
    os.unlink(a); assert os.stat(b).st_nlink == 1; os.unlink(b)
    assert os.listdir('.') == []
os.makedirs('one/in'); os.mkdir('two'); put('one/in/f', b'f')
fails(errno.ENOTEMPTY, os.rename, 'two', 'one')
os.rename('one', 'two'); assert get('two/in/f') == b'f' and os.listdir('.') == ['two']
os.makedirs('x/y'); renameat2('x/y', 'two', EXCHANGE); assert get('x/y/in/f') == b'f' and os.listdir('two') == []
fails(errno.ENOTEMPTY, os.rmdir, 'x')
fails(errno.EINVAL, os.rename, 'x', 'x/y/z')
put('file', b'')
fails(errno.EISDIR, os.rename, 'file', 'two'); fails(errno.ENOTDIR, os.rename, 'two', 'file')
os.rename('two', 'x/two'); os.rmdir('x/two'); os.rename('x/y/in/f', 'f'); assert get('f') == b'f'
fails(errno.ENAMETOOLONG, open, 'n' * 256, 'w')
"#,
    );
}

#[test]
fn symbolic_links_of_every_length() {
    check(
        r#"
for n in (1, 2, 3, 100, 1000, 3000, 3045, 3046, 3500, 4095):
    target = ('t' * n)
    os.symlink(target, 'l%d' % n)
    assert os.readlink('l%d' % n) == target and os.lstat('l%d' % n).st_size == n, n
os.rename('l4095', 'moved'); assert os.readlink('moved') == 't' * 4095
os.link('moved', 'again', follow_symlinks=False); os.unlink('moved'); assert os.readlink('again') == 't' * 4095
os.symlink('t' * 4000, 'victim'); os.rename('again', 'victim'); assert os.readlink('victim') == 't' * 4095
fails(errno.EINVAL, os.readlink, '.')
for name in os.listdir('.'): os.unlink(name)
"#,
    );
    let mut world = World::new(support::Setup::default());
    world.python("import os\nos.symlink('x' * 4000, 'l'); os.unlink('l')");
    world.unmount();
    let kept = std::fs::read_dir(world.backing.join(".kmsfs/targets")).unwrap().count();
    assert_eq!(kept, 0, "the kept target goes with the last name");
}

#[test]
fn holes_allocation_and_copies() {
    check(
        r#"
KEEP, PUNCH, ZERO = 1, 2, 16
fd = os.open('s', os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 4 << 40); assert os.fstat(fd).st_size == 4 << 40
os.pwrite(fd, b'tera', 3 << 40); assert os.pread(fd, 6, (3 << 40) - 1) == b'\0tera\0'
assert os.fstat(fd).st_blocks < 4096
os.ftruncate(fd, 1 << 20)
os.pwrite(fd, b'd' * 65536, 262144); os.fsync(fd)
found = os.lseek(fd, 0, os.SEEK_DATA); assert found in (0, 262144), found
hole = os.lseek(fd, 262144, os.SEEK_HOLE); assert hole in (262144 + 65536, 1 << 20), hole
fails(errno.ENXIO, os.lseek, fd, 1 << 20, os.SEEK_DATA)
fallocate(fd, PUNCH | KEEP, 262144 + 100, 8192)
expect = b'd' * 100 + b'\0' * 8192 + b'd' * (65536 - 8292)
assert os.pread(fd, 65536, 262144) == expect
fallocate(fd, 0, 1 << 20, 4096); assert os.fstat(fd).st_size == (1 << 20) + 4096
fallocate(fd, KEEP, 2 << 20, 4096); assert os.fstat(fd).st_size == (1 << 20) + 4096
fallocate(fd, ZERO, 262144, 10); assert os.pread(fd, 12, 262144) == b'\0' * 10 + b'dd'
fails(errno.EOPNOTSUPP, fallocate, fd, 8, 0, 4096)
out = os.open('c', os.O_CREAT | os.O_RDWR)
done = 0
while done < 1 << 20:
    n = os.copy_file_range(fd, out, (1 << 20) - done, done, done); assert n > 0; done += n
assert os.pread(out, 1 << 20, 0) == os.pread(fd, 1 << 20, 0)
assert os.fstat(out).st_size == 1 << 20
os.ftruncate(fd, 5); os.ftruncate(fd, 5000); assert os.pread(fd, 6000, 0) == b'\0' * 5000
"#,
    );
}

#[test]
fn mappings_appends_and_locks() {
    check(
        r#"
put('m', b'a' * 10000)
fd = os.open('m', os.O_RDWR)
shared = mmap.mmap(fd, 10000); private = mmap.mmap(fd, 10000, flags=mmap.MAP_PRIVATE)
private[0:3] = b'xyz'; assert os.pread(fd, 3, 0) == b'aaa'
shared[5000:5003] = b'bcd'; shared.flush(); assert get('m')[5000:5003] == b'bcd'
os.pwrite(fd, b'Q', 9999); assert shared[9999:10000] == b'Q'
shared.close(); private.close()

def append(c):
    f = os.open('log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for i in range(200): os.write(f, c * 37)
    os.close(f)
threads = [threading.Thread(target=append, args=(bytes([65 + i]),)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
log = get('log'); assert len(log) == 4 * 200 * 37
assert all(len(set(log[i:i + 37])) == 1 for i in range(0, len(log), 37))

a = os.open('m', os.O_RDWR); b = os.open('m', os.O_RDWR)
fcntl.flock(a, fcntl.LOCK_EX); fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB); fcntl.flock(a, fcntl.LOCK_UN)
fcntl.lockf(a, fcntl.LOCK_EX, 10, 0)
pid = os.fork()
if pid == 0:
    try: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5); os._exit(1)
    except OSError: pass
    try: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10); os._exit(0)
    except OSError: os._exit(2)
assert os.waitpid(pid, 0)[1] == 0
"#,
    );
}

#[test]
fn listings_stay_valid_while_entries_come_and_go() {
    check(
        r#"
os.mkdir('d')
for i in range(2000): put('d/%04d' % i, b'')
seen = []
with os.scandir('d') as it:
    for n, e in enumerate(it):
        seen.append(e.name)
        if n % 3 == 0: os.unlink('d/' + e.name)
        if n < 500: put('d/new%d' % n, b'')
old = [s for s in seen if not s.startswith('new')]
assert len(old) == len(set(old)) == 2000, (len(old), len(set(old)))
names = os.listdir('d'); assert len(names) == len(set(names)) == 2500 - (len(seen) + 2) // 3

# Offsets from telldir come back to the same place.
libc.opendir.restype = ctypes.c_void_p; libc.telldir.restype = ctypes.c_long
libc.readdir.restype = ctypes.c_void_p
d = ctypes.c_void_p(libc.opendir(b'd'))
def read():
    p = libc.readdir(d)
    return ctypes.string_at(p + 19) if p else None
first = [read() for _ in range(700)]; at = ctypes.c_long(libc.telldir(d)); assert at.value > 0
rest = []
while (n := read()) is not None: rest.append(n)
libc.seekdir(d, at); again = []
while (n := read()) is not None: again.append(n)
assert rest == again and {b'.', b'..'} <= set(first + rest)
for n in os.listdir('d'): os.unlink('d/' + n)
os.rmdir('d')
"#,
    );
}

#[test]
fn extended_attributes_and_acls() {
    check(
        r#"
import subprocess
CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE
put('f', b'x'); os.mkdir('d'); os.mkfifo('p')
for n in ('f', 'd'):
    fails(errno.ENODATA, os.getxattr, n, 'user.a'); fails(errno.ENODATA, os.setxattr, n, 'user.a', b'', REPLACE)
    os.setxattr(n, 'user.a', b'one', CREATE); fails(errno.EEXIST, os.setxattr, n, 'user.a', b'', CREATE)
    os.setxattr(n, 'user.a', b'', REPLACE); assert os.getxattr(n, 'user.a') == b''
    os.setxattr(n, 'user.' + 'b' * 150, bytes(range(256)) * 4)
    assert os.getxattr(n, 'user.' + 'b' * 150) == bytes(range(256)) * 4
    assert sorted(os.listxattr(n)) == ['user.a', 'user.' + 'b' * 150]
    os.removexattr(n, 'user.a'); fails(errno.ENODATA, os.removexattr, n, 'user.a')
    fails(errno.ERANGE, os.setxattr, n, 'user.' + 'c' * 250, b'')
fails(errno.EOPNOTSUPP, os.setxattr, 'f', 'other.x', b'')
fails(errno.EPERM, os.setxattr, 'p', 'user.x', b'')
os.setxattr('p', 'trusted.x', b'1'); assert os.getxattr('p', 'trusted.x') == b'1'
# An empty file that was made by mknod has no header yet; its times stay when it is given one.
os.mknod('raw', 0o644 | stat.S_IFREG); os.utime('raw', ns=(5, 6)); os.setxattr('raw', 'user.q', b'1')
assert os.stat('raw').st_mtime_ns == 6 and os.stat('raw').st_size == 0
def run(*a): return subprocess.run(a, check=True, capture_output=True, text=True).stdout
run('setfacl', '-d', '-m', 'u:1234:rwx,g::r-x,o::---,m::rwx', 'd')
os.umask(0o077); put('d/inherits', b''); os.mkdir('d/sub')
acl = run('getfacl', '-n', '-c', 'd/inherits')
assert 'user:1234:rwx' in acl and 'mask::rw-' in acl, acl
assert 'default:user:1234:rwx' in run('getfacl', '-n', '-c', 'd/sub')
run('setfacl', '-b', '-k', 'd'); put('d/plain', b'')
assert os.stat('d/plain').st_mode & 0o777 == 0o600
run('setfacl', '-m', 'u:1234:r', 'f'); os.chmod('f', 0o600); assert 'mask::---' in run('getfacl', '-n', '-c', 'f')
"#,
    );
}

#[test]
fn times_follow_what_happened() {
    check(
        r#"
put('f', b'1'); os.utime('f', ns=(1 * 10**18, 1 * 10**18))
before = os.stat('f'); assert before.st_mtime_ns == 10**18
time.sleep(0.05); get('f'); fd = os.open('f', os.O_RDONLY); os.close(fd)
assert os.stat('f').st_mtime_ns == 10**18
with open('f', 'r+b') as f: f.write(b'2')
written = os.stat('f'); assert time.time_ns() - written.st_mtime_ns < 3 * 10**9 and written.st_ctime_ns > before.st_ctime_ns
# Nothing that the daemon does later shows: the header, the seal, checkpoints.
time.sleep(1.0)
later = os.stat('f'); assert (later.st_mtime_ns, later.st_size) == (written.st_mtime_ns, written.st_size)
os.utime('f', ns=(123456789, 987654321)); time.sleep(0.8)
fd = os.open('f', os.O_RDONLY); os.fsync(fd); os.close(fd)
assert os.stat('f').st_mtime_ns == 987654321
os.mkdir('d'); a = os.stat('d').st_mtime_ns; time.sleep(0.02); put('d/x', b''); assert os.stat('d').st_mtime_ns > a
"#,
    );
    let mut world = World::new(support::Setup::default());
    world.python("import os\nopen('f','wb').write(b'x' * 100000)\nf = open('f','r+b'); f.seek(5); f.write(b'y'); f.close(); os.utime('f', ns=(1, 2))");
    world.remount();
    world.python("import os\nassert os.stat('f').st_mtime_ns == 2, os.stat('f')");
}

#[test]
fn inode_numbers_are_the_same_after_a_remount() {
    in_every_setup(|world: &mut World| {
        world.sh("mkdir d; echo 1 > d/f; ln d/f d/g; ln -s f d/l");
        let before = world.sh("stat -c '%n %i' d d/*; ls -i d");
        world.remount();
        assert_eq!(world.sh("stat -c '%n %i' d d/*; ls -i d"), before);
    });
}

#[test]
fn whiteouts_take_the_place_of_what_was_renamed() {
    check(
        r#"
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
long = 'L' * 220
def is_whiteout(name):
    st = os.lstat(name); return stat.S_ISCHR(st.st_mode) and st.st_rdev == 0
for a, b in (('a', 'b'), (long, 'b'), ('a', long)):
    put(a, b'A'); renameat2(a, b, WHITEOUT); assert is_whiteout(a) and get(b) == b'A'
    put('other', b'O'); fails(errno.EEXIST, renameat2, 'other', b, WHITEOUT | NOREPLACE)
    fails(errno.EINVAL, renameat2, 'other', b, WHITEOUT | EXCHANGE)
    renameat2('other', b, WHITEOUT); assert get(b) == b'O' and is_whiteout('other')
    assert sorted(os.listdir('.')) == sorted([a, b, 'other'])
    for n in (a, b, 'other'): os.unlink(n)
os.mkdir('d'); put('d/f', b'f'); renameat2('d', 'moved', WHITEOUT | NOREPLACE)
assert is_whiteout('d') and get('moved/f') == b'f'
os.rename('d', 'e'); assert is_whiteout('e'); os.unlink('e'); os.unlink('moved/f'); os.rmdir('moved')
"#,
    );
}

#[test]
fn every_change_of_the_content_clears_set_id_bits_and_capabilities() {
    check(
        r#"
os.umask(0); os.chmod('.', 0o777)
def with_file(work):
    fd = os.open('f', os.O_RDWR); work(fd); os.close(fd)
def mapped(fd):
    m = mmap.mmap(fd, 4096); m[0:1] = b'q'; m.flush(); m.close()
put('source', b's' * 8192); source = os.open('source', os.O_RDONLY)
ways = {
    'write': lambda fd: os.write(fd, b'z'), 'truncate': lambda fd: os.truncate('f', 4000), 'ftruncate': lambda fd: os.ftruncate(fd, 5000),
    'allocate': lambda fd: fallocate(fd, 0, 8192, 4096), 'punch': lambda fd: fallocate(fd, 3, 0, 4096),
    'zero': lambda fd: fallocate(fd, 16, 0, 4096), 'copy': lambda fd: os.copy_file_range(source, fd, 4096, 0, 0),
    'open': lambda fd: os.close(os.open('f', os.O_WRONLY | os.O_TRUNC)),
    'direct': lambda fd: os.close(direct(fd)), 'append': lambda fd: appended(fd),
}
def direct(fd):
    d = os.open('f', os.O_RDWR | os.O_DIRECT); os.write(d, mmap.mmap(-1, 4096)); return d
def appended(fd):
    d = os.open('f', os.O_WRONLY | os.O_APPEND); os.write(d, b'x'); os.close(d)
mode = lambda: os.stat('f').st_mode & 0o7777
capability = bytes.fromhex('0100000200040000000000000000000000000000')
for name, way in ways.items():
    put('f', b'd' * 8192); os.chown('f', 1001, 50)
    # A stranger, a member of the group, and the owner by a group of several; then root, who keeps them.
    for before, gid, groups, after in ((0o6777, 9, [], 0o777), (0o2767, 9, [], 0o767), (0o2767, 50, [], 0o2767),
                                       (0o2767, 9, [7, 50], 0o2767), (0o4777, 50, [], 0o777), (0o2777, 50, [], 0o777)):
        os.chmod('f', before); as_user(1003, gid, groups, lambda: with_file(way))
        assert mode() == after, (name, oct(before), gid, groups, oct(mode()))
    os.chmod('f', 0o6777); with_file(way); assert mode() == 0o6777, (name, oct(mode()))
    os.setxattr('f', 'security.capability', capability); as_user(1003, 9, [], lambda: with_file(way))
    fails(errno.ENODATA, os.getxattr, 'f', 'security.capability')
# A change of owner, even to nobody; and of the list of who may what, by somebody outside of the group.
for owner in ((-1, -1), (7, 8)):
    put('f', b''); os.chmod('f', 0o6777); os.chown('f', *owner); assert mode() == 0o777
os.mkdir('d'); os.chmod('d', 0o6777); os.chown('d', 7, 8); assert os.stat('d').st_mode & 0o7777 == 0o6777
import subprocess
for gid, after in ((6, 0), (50, 0o2000)):
    put('f', b''); os.chown('f', 1001, 50); os.chmod('f', 0o2755)
    as_user(1001, gid, [], lambda: subprocess.run(['setfacl', '-m', 'u:6:rw', 'f'], check=True)); assert mode() & 0o2000 == after
"#,
    );
}

#[test]
fn times_of_every_age_and_what_must_not_change() {
    check(
        r#"
put('f', b'x' * 20000); os.mkdir('d'); os.symlink('f', 'l')
for ns in (0, 1, -1, -10**9, -10**9 + 1, -4000000001, 2**31 * 10**9 + 7, 10**18 + 123456789, -2 * 10**18 - 3):
    for n in ('f', 'd', 'l'):
        try: os.utime(n, ns=(ns, ns - 5), follow_symlinks=False)
        except OSError as e: assert e.errno == errno.EINVAL; continue
        st = os.lstat(n); assert (st.st_atime_ns, st.st_mtime_ns) == (ns, ns - 5) or ns < -2**31 * 10**9, (n, ns, st)
def changed(work, name='f'):
    a = os.stat(name); time.sleep(0.01); work(); b = os.stat(name)
    return ''.join(k for k in 'amc' if getattr(a, 'st_%stime_ns' % k) != getattr(b, 'st_%stime_ns' % k))
fd = os.open('f', os.O_RDWR)
assert changed(lambda: os.pwrite(fd, b'1', 5)) == 'mc'
assert changed(lambda: os.pwrite(fd, b'', 0)) == ''
assert changed(lambda: fallocate(fd, 3, 100, 9000)) == 'mc'
assert changed(lambda: os.ftruncate(fd, 10001)) == 'mc'
assert changed(lambda: os.ftruncate(fd, 10001)) == 'mc'
assert changed(lambda: os.fsync(fd)) == ''
assert changed(lambda: os.chmod('f', 0o640)) == 'c'
assert changed(lambda: os.link('f', 'g')) == 'c'
assert changed(lambda: os.setxattr('f', 'user.a', b'1')) == 'c'
assert changed(lambda: os.rename('g', 'h')) == 'c'
assert changed(lambda: os.unlink('h')) == 'c'
assert changed(lambda: put('d/x', b'')) == '' and changed(lambda: put('d/y', b''), 'd') == 'mc'
assert changed(lambda: put('d/y', b'11'), 'd') == '' and changed(lambda: os.chmod('d/y', 0), 'd') == ''
assert changed(lambda: os.rename('d/y', 'd/z'), 'd') == 'mc' and changed(lambda: os.unlink('d/z'), 'd') == 'mc'
"#,
    );
}

#[test]
fn what_is_not_offered_is_refused_as_a_file_system_does() {
    check(
        r#"
import subprocess
put('f', b'x' * 9000); fd = os.open('f', os.O_RDWR)
fails(errno.ENOTTY, fcntl.ioctl, fd, 0x80086601, b'\0' * 8); fails(errno.ENOTTY, fcntl.ioctl, fd, 0x1234, 0)
for command in (['lsattr', 'f'], ['chattr', '+i', 'f']):
    ran = subprocess.run(command, capture_output=True, text=True); assert ran.returncode == 1 and ran.stderr.count('\n') == 1, ran
fm = bytearray(32 + 56); struct.pack_into('QQIIII', fm, 0, 0, 2**63, 0, 0, 1, 0)
fails(errno.EOPNOTSUPP, fcntl.ioctl, fd, 0xC020660B, bytes(fm))
fails(errno.EOPNOTSUPP, os.open, '.', os.O_TMPFILE | os.O_RDWR, 0o600)
handle = ctypes.create_string_buffer(136); struct.pack_into('Ii', handle, 0, 128, 0); mount = ctypes.c_int()
assert libc.name_to_handle_at(-100, b'f', handle, ctypes.byref(mount), 0) == -1 and ctypes.get_errno() == errno.EOPNOTSUPP
fails(errno.EOPNOTSUPP, fcntl.ioctl, os.open('g', os.O_CREAT | os.O_RDWR), 0x40049409, fd)
for mode in (8, 32): fails(errno.EOPNOTSUPP, fallocate, fd, mode, 0, 4096)
for name in ('user.', 'user', 'bogus.x'): fails(errno.EINVAL if name == 'user.' else errno.EOPNOTSUPP, os.getxattr, 'f', name)
fails(errno.ENOSPC, os.setxattr, 'f', 'user.big', b'v' * 65536); fails(errno.E2BIG, os.setxattr, 'f', 'user.big', b'v' * 65537)
# Leases and locks are the kernel's.
r = os.open('f', os.O_RDONLY); os.close(fd)
fcntl.fcntl(r, 1024, fcntl.F_RDLCK); assert fcntl.fcntl(r, 1025) == fcntl.F_RDLCK; fcntl.fcntl(r, 1024, fcntl.F_UNLCK); os.close(r)
a, b = os.open('f', os.O_RDWR), os.open('f', os.O_RDWR)
lock = lambda fd, start, size: fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, start, size, 0))
lock(a, 0, 10); fails(errno.EAGAIN, lock, b, 5, 10); lock(b, 10, 10)
"#,
    );
}

#[test]
fn names_of_every_byte_and_length_and_deep_trees() {
    check(
        r#"
made = set()
def make(n):
    if n not in (b'.', b'..') and n not in made: os.close(os.open(n, os.O_CREAT | os.O_WRONLY)); made.add(n)
for byte in range(1, 256):
    if byte != 0x2f: make(bytes([byte])); make(b'x' + bytes([byte]) + b'y')
for n in range(1, 256): make(bytes((i * 7 + n) % 255 + 1 for i in range(n)).replace(b'/', b'_'))
assert set(os.listdir(b'.')) == made
for n in made: assert os.stat(n).st_size == 0; os.unlink(n)
assert os.listdir('.') == []
top = os.getcwd(); depth = 1200
for i in range(depth): os.mkdir('d'); os.chdir('d')
put('leaf', b'deep'); os.chdir(top); assert get('d/' * depth + 'leaf') == b'deep'
longest = 'd/' * ((4095 - 8) // 2); fails(errno.ENOENT, os.stat, longest); fails(errno.ENAMETOOLONG, os.stat, 'd/' * 2100)
os.rename('d/' * 600 + 'd', 'half'); assert get('half/' + 'd/' * (depth - 601) + 'leaf') == b'deep'
fails(errno.EINVAL, os.rename, 'd', 'd/d/d/e')
import subprocess; subprocess.run(['rm', '-r', 'd', 'half'], check=True); assert os.listdir('.') == []
"#,
    );
}

#[test]
fn contents_are_closed_and_sealed_whenever_the_kernel_forgets_them() {
    in_every_setup(|world: &mut World| {
        // Once the kernel has opened a file, it sends no release for those that it creates.
        world.sh("echo warm > warm; cat warm");
        let make = |name: &str| {
            world.python(&format!(
                "import os\nfor i in range(300):\n\
                 \x20   fd = os.open('{name}%d' % i, os.O_CREAT | os.O_RDWR); os.write(fd, b'x' * 5000); os.ftruncate(fd, 20000)\n\
                 \x20   os.pwrite(fd, b'y' * 5000, 11000); os.close(fd)"
            ));
        };
        make("kept");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while world.open_contents() > 0 {
            assert!(std::time::Instant::now() < deadline, "{} contents stay open", world.open_contents());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        make("fresh");
        // As under memory pressure: the kernel forgets what it can.
        world.sh("sync -f .; echo 2 > /proc/sys/vm/drop_caches");
        let check = "import os\nfor n in ('kept', 'fresh'):\n    for i in range(300):\n\
                     \x20       assert open(n + str(i), 'rb').read() == b'x' * 5000 + bytes(6000) + b'y' * 5000 + bytes(4000), (n, i)";
        world.python(check);
        world.remount();
        world.python(check);
    });
}
