// Drops one message of each kind into a folder with System.Net.Mail. Usage: mono pickup.exe FOLDER
using System.Net.Mail;
using System.Text;

class Program
{
    static void Main(string[] arguments)
    {
        using (var client = new SmtpClient())
        {
            client.DeliveryMethod = SmtpDeliveryMethod.SpecifiedPickupDirectory;
            client.PickupDirectoryLocation = arguments[0];

            var plain = new MailMessage("ann@client.test", "bob@upstream.test");
            plain.Subject = "plain";
            plain.Body = "Hello Bob,\r\n\r\n.\r\n..\r\nthe order is on its way.\r\n";
            client.Send(plain);

            var several = new MailMessage("ann@client.test", "bob@upstream.test");
            several.Subject = "Gr\u00fc\u00dfe";
            several.SubjectEncoding = Encoding.UTF8;
            several.To.Add("eve@upstream.test");
            several.CC.Add(new MailAddress("carol@upstream.test", "Carol, C."));
            several.Body = "x\r\n";
            client.Send(several);
        }
    }
}
