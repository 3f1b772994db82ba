# The numbers that requests ask for: what root's configuration says of a folder is the most that there is to have, wherever the section stands that says
# it, and whoever asks. Visitors first, as nothing of theirs may be lowered; then, as Apache's user, requests that ask for all there is.
# One MPM: the bounds are the core's.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::UNIX;
use JSON::PP;
use Test::More;
use Attack;
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $h = Harness->new(mpm => 'event');
my $owner = $h->app_user;
my (%root, $conf);
my @row;

# name => lines of its virtual host (ROOT: the application's folder); where its visitors go; what they get; what the greediest request gets
sub site {
    my ($name, $lines, $paths, $visitors, $most, $htaccess) = @_;
    my $dir = $root{$name} = $h->copy_app('wsgi', $name eq 'pattern' ? 'vip/pattern' : $name, owner => $owner);
    if (defined $htaccess) {
        spew("$dir/public/.htaccess", $htaccess);
        $h->own("$dir/public/.htaccess", $owner);
    }
    $lines =~ s/ROOT/$dir/g;
    my $docroot = $lines =~ /DocumentRoot/ ? '' : "DocumentRoot $dir/public\n";
    $conf .= "<VirtualHost *>\nServerName $name\n$docroot<Directory $dir/public>\nAllowOverride All\nRequire all granted\n</Directory>\n$lines</VirtualHost>\n";
    push @row, [$name, $paths, $visitors, $most];
}

mkdir "$h->{root}/apps";
mkdir "$h->{root}/apps/front";
site(silent => '', ['/'], { MaxInstances => 4, MaxRequestTime => 60 }, { MaxInstances => 4, MaxRequestTime => 60, StartTimeout => 2147483647, ThreadCount => 65535, MaxRequestQueueSize => 0, CPUWeight => 100 });
site(less => "PassengerMaxInstances 2\nPassengerMinInstances 1\nPassengerStartTimeout 50\nPassengerThreadCount 3\nPassengerMaxRequestQueueSize 20\nPassengerMaxPreloaderIdleTime 9\nPassengerMaxRequests 1000\nPassengerMemoryLimit 500\n",
    ['/'], { MaxInstances => 2, MinInstances => 1 },
    { MaxInstances => 2, MinInstances => 1, StartTimeout => 50, ThreadCount => 3, MaxRequestQueueSize => 20, MaxPreloaderIdleTime => 9, MaxRequests => 1000, MemoryLimit => 500 });
site(more => "PassengerMaxInstances 6\n", ['/'], { MaxInstances => 6 }, { MaxInstances => 6 });
site(any => "PassengerMaxInstances 0\n", ['/'], { MaxInstances => 0 }, { MaxInstances => 0 });
site(location => "<Location /slow>\nPassengerMaxRequestTime 300\n</Location>\n<Location /process>\nPassengerMaxRequestTime 5\n</Location>\n", ['/slow?s=0', '/process', '/'], { MaxInstances => 4 }, { MaxRequestTime => 300 });
site(folder => "<Directory ROOT/public>\nPassengerMaxInstances 3\nPassengerStartTimeout 40\n</Directory>\n", ['/'], { MaxInstances => 3 }, { MaxInstances => 4, StartTimeout => 40 });
site(inside => "<If \"true\">\nPassengerMaxRequestQueueTime 7\nPassengerMaxRequestTime 90\n</If>\n", ['/'], { MaxRequestTime => 90, MaxRequestQueueTime => 7 }, { MaxRequestTime => 90, MaxRequestQueueTime => 0 });
site(elsewhere => "DocumentRoot $h->{root}/apps/front\nPassengerAppRoot ROOT\n<Directory $h->{root}/apps/front>\nRequire all granted\nPassengerMaxInstances 5\n</Directory>\n", ['/'], { MaxInstances => 5 }, { MaxInstances => 5 });
site(alias => "DocumentRoot $h->{root}/htdocs\nAlias /b ROOT/public\nPassengerBaseURI /b\n<Directory ROOT/public>\nPassengerMaxInstances 1\nPassengerMaxRequestTime 30\n</Directory>\n<Location /b/slow>\nPassengerMaxRequestTime 200\n</Location>\n",
    ['/b/', '/b/slow?s=0'], { MaxInstances => 1 }, { MaxInstances => 1, MaxRequestTime => 200 });
site(pattern => "<DirectoryMatch \"^$h->{root}/apps/vip/p.*/public\">\nPassengerMaxInstances 8\n</DirectoryMatch>\n", ['/'], { MaxInstances => 8 }, { MaxInstances => 8 });
site(written => '', ['/'], { MaxInstances => 3 }, { MaxInstances => 4 }, "PassengerMaxInstances 3\nPassengerStartTimeout 70\n");
# A pattern that is for nobody here must not lower what others have.
$h->start(conf => "PassengerMaxPoolSize 30\nPassengerMaxInstances 4\nPassengerMinInstances 1\nPassengerMaxRequestTime 60\n<DirectoryMatch \"^/nowhere/[a-z]+\">\nPassengerMaxInstances 1\n</DirectoryMatch>\n$conf");
core_socket($h);

sub group_of {
    my ($name) = @_;
    my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => (glob "$h->{root}/registry/*/admin")[0]) or die "admin: $!";
    print $s "GET /pool.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    local $/;
    my (undef, $body) = split /\r\n\r\n/, scalar(<$s>), 2;
    my ($group) = grep { $_->{app_root} eq $root{$name} && $_->{name} eq "$root{$name} (production)" } @{ decode_json($body)->{groups} };
    return $group // {};
}

for my $row (@row) {
    my ($name, $paths, $visitors) = @$row;
    is $h->get($_, Host => $name)->status, 200, "$name: $_" for @$paths;
    my $options = group_of($name)->{options};
    is $options->{"Passenger$_"}, $visitors->{$_}, "... has $_ $visitors->{$_}" for sort keys %$visitors;
}
unlike $h->log_text, qr/PSG3200/, 'nothing that the configuration says was lowered';

my %all = (min_instances => 65535, max_instances => 0, max_requests => 0, start_timeout => 2147483647, thread_count => 65535, max_request_queue_size => 0, max_request_queue_time => 0, max_request_time => 0,
    max_preloader_idle_time => 0, memory_limit => 0, hard_memory_limit => 0, task_limit => 0, app_file_descriptor_ulimit => 0, cpu_weight => 10000);
my $claims = { map { my $n = pack 'N', $all{$_}; ($_ => \$n) } keys %all };
for my $row (@row) {
    my ($name, undef, undef, $most) = @$row;
    my $author = $name eq 'written' ? (getpwnam $owner)[2] : undef;
    my $base = $name eq 'alias' ? { path => '/process' } : {};
    like attack(app_root => $root{$name}, group => "$root{$name} (production)", author => $author, options => $claims, %$base), qr/^HTTP\/1\.1 200/m, "$name: a request that asks for everything";
    my $options = group_of($name)->{options};
    is $options->{"Passenger$_"}, $most->{$_}, "... gets $_ $most->{$_}" for sort keys %$most;
}
$h->expect_log(qr/PSG3200: pool\.bounds: a request for the application in \S+ asks for Passenger\w+ \d+, and the server's configuration allows \d+ there, which is used/, 'who asks for more is told of');
is scalar(() = $h->log_text =~ /PSG3200/g), 1, '... once a minute';

# What is not said at all counts as its default, which may be more than there is to have.
attack(app_root => $root{less}, group => "$root{less} (production)", options => {});
my $none = group_of('less');
is $none->{options}{PassengerMaxInstances}, 2, 'who says nothing gets no more';
# As many processes as it may have, however many it wants.
my @slow = map { my $c = $h->client(timeout => 60); $c->write_request('GET', '/slow?s=1', Host => 'less', Connection => 'close'); $c } 1 .. 6;
$_->read_response('GET') for @slow;
cmp_ok scalar @{ group_of('less')->{processes} }, '<=', 2, 'and processes are no more than that';
$h->finish;
done_testing;
